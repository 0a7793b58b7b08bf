/* Gives a relay that wants a configuration file the command line of the other contestants: picks
 * the port, fills the template in and becomes the relay, so that it is one process.
 *
 * usage: nginx_relay|haproxy_relay PORT UPSTREAM_PORT
 *
 * HAProxy inherits the listener. nginx cannot (1.22 as a single process fails on an inherited one),
 * so it opens the port itself, and a process that is nobody's child waits until it has and says so.
 * The configuration, and the file in which nginx insists on writing its pid, are in memory: nothing
 * is left behind. (That nginx cannot remove the latter is an alert in its output.)
 *
 * Compiled with RELAY_PROGRAM, RELAY_TEMPLATE and, for nginx, RELAY_OPENS_PORT. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "contest.h"

enum { listener_fd = 3, configuration_fd = 4, pid_fd = 5, most_bytes = 64 * 1024 };

#define CONFIGURATION_PATH "/proc/self/fd/4"
#define PID_PATH "/proc/self/fd/5"

struct value {
    const char* name; /* with its @ */
    char text[256];
};

static const char* end_of_name(const char* at, const struct value** values, size_t count,
                               const struct value** found) {
    for (size_t i = 0; i < count; ++i) {
        size_t size = strlen(values[i]->name);
        if (strncmp(at, values[i]->name, size) != 0) continue;
        *found = values[i];
        return at + size;
    }
    return NULL;
}

static void fill_in(const char* template, const struct value** values, size_t count, FILE* out) {
    for (const char* at = template; *at != '\0';) {
        const struct value* value = NULL;
        const char* next = *at == '@' ? end_of_name(at, values, count, &value) : NULL;
        if (next == NULL) {
            fputc(*at++, out);
        } else {
            fputs(value->text, out);
            at = next;
        }
    }
}

/* Both numbers are free, or taken by what is not needed any more. */
static void memory_file(const char* name, int number) {
    int fd = memfd_create(name, 0);
    if (fd < 0 || (fd != number && dup2(fd, number) < 0)) die("memfd_create");
    if (fd != number) close(fd);
}

static void write_configuration(const struct value** values, size_t count) {
    static char template[most_bytes];
    FILE* in = fopen(RELAY_TEMPLATE, "re");
    if (in == NULL) die(RELAY_TEMPLATE);
    template[fread(template, 1, sizeof template - 1, in)] = '\0';
    fclose(in);
    memory_file("pid", pid_fd);
    memory_file("configuration", configuration_fd);
    int fd = dup(configuration_fd);
    if (fd < 0) die("dup");
    FILE* out = fdopen(fd, "w");
    if (out == NULL) die("fdopen");
    fill_in(template, values, count, out);
    if (fclose(out) != 0) die("write the configuration");
}

#ifdef RELAY_OPENS_PORT
enum { patience_ms = 10000, step_ms = 2 };

static bool serves(uint16_t port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) die("socket");
    struct sockaddr_in address = loopback(port);
    bool connected = connect(fd, (const struct sockaddr*)&address, sizeof address) == 0;
    close(fd);
    return connected;
}

static void announce_when_it_serves(uint16_t port) {
    pid_t child = fork();
    if (child < 0) die("fork");
    if (child > 0) {
        waitpid(child, NULL, 0);
        return;
    }
    if (fork() != 0) _exit(0);
    for (int waited = 0; waited < patience_ms; waited += step_ms) {
        if (serves(port)) {
            printf("listening %u\n", (unsigned)port);
            fflush(stdout);
            break;
        }
        usleep(step_ms * 1000);
    }
    _exit(0);
}

static void become_relay(uint16_t port) {
    close(listener_fd);
    announce_when_it_serves(port);
    execl(RELAY_PROGRAM, RELAY_PROGRAM, "-e", "stderr", "-c", CONFIGURATION_PATH, (char*)NULL);
    die(RELAY_PROGRAM);
}
#else
static void become_relay(uint16_t port) {
    (void)port;
    announce(listener_fd);
    execl(RELAY_PROGRAM, RELAY_PROGRAM, "-db", "-f", CONFIGURATION_PATH, (char*)NULL);
    die(RELAY_PROGRAM);
}
#endif

/* Moves the listener to its number; away first, in case one of the two numbers is taken. */
static void place_listener(int listener) {
    int moved = fcntl(listener, F_DUPFD, pid_fd + 1);
    if (moved < 0 || dup2(moved, listener_fd) < 0) die("dup2");
    close(moved);
    if (listener != listener_fd) close(listener);
}

int main(int argc, char** argv) {
    const char* usage = "nginx_relay|haproxy_relay PORT UPSTREAM_PORT";
    uint16_t port = port_of(argc == 3 ? argv[1] : NULL, usage);
    uint16_t upstream_port = port_of(argv[2], usage);
    lift_fd_limit();
    int listener = listener_on(port, 0);
    place_listener(listener);

    struct sockaddr_in address = {0};
    socklen_t size = sizeof address;
    if (getsockname(listener_fd, (struct sockaddr*)&address, &size) != 0) die("getsockname");
    struct value own = {.name = "@PORT@"}, upstream = {.name = "@UPSTREAM_PORT@"},
                 inherited = {.name = "@LISTENER_FD@"}, pid_file = {.name = "@PID_FILE@"};
    port = ntohs(address.sin_port);
    snprintf(own.text, sizeof own.text, "%u", (unsigned)port);
    snprintf(upstream.text, sizeof upstream.text, "%u", (unsigned)upstream_port);
    snprintf(inherited.text, sizeof inherited.text, "%d", listener_fd);
    snprintf(pid_file.text, sizeof pid_file.text, "%s", PID_PATH);
    const struct value* values[] = {&own, &upstream, &inherited, &pid_file};
    write_configuration(values, sizeof values / sizeof values[0]);
    become_relay(port);
    return 1;
}
