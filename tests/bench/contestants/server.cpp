#include "server.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <system_error>
#include <thread>

namespace bench {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr auto patience = 10s;

[[noreturn]] void fail(const char* step) {
    throw std::system_error(errno, std::generic_category(), step);
}

std::vector<std::string> split(const std::string& line) {
    std::vector<std::string> words;
    std::istringstream in(line);
    for (std::string word; std::getline(in, word, '|');) words.push_back(word);
    return words;
}

/// The first line that arrives in time; empty when none does.
std::string first_line(int fd) {
    const auto deadline = Clock::now() + patience;
    std::string line;
    while (Clock::now() < deadline) {
        pollfd readable{fd, POLLIN, 0};
        if (poll(&readable, 1, 50) <= 0) continue;
        char byte = 0;
        if (read(fd, &byte, 1) != 1) return {};
        if (byte == '\n') return line;
        line += byte;
    }
    return {};
}

[[noreturn]] void become(const std::vector<std::string>& command, int out) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(out, STDOUT_FILENO);
    std::vector<char*> argv;
    for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    execv(argv[0], argv.data());
    _exit(127);
}

}  // namespace

std::vector<Entry> built_contestants(const std::string& kind) {
    std::ifstream file(BENCH_CONTESTANTS);
    std::vector<Entry> found;
    for (std::string line; std::getline(file, line);) {
        const std::vector<std::string> words = split(line);
        if (words.size() < 4) throw std::runtime_error("not a contestant: " + line);
        if (words[0] == kind)
            found.push_back({words[0], words[1], {words.begin() + 2, words.end()}});
    }
    return found;
}

Server::Server(const Entry& entry, std::uint16_t upstream_port) {
    std::vector<std::string> command = entry.command;
    for (std::string& word : command) {
        if (word == "@PORT@") word = "0";
        if (word == "@UPSTREAM_PORT@") word = std::to_string(upstream_port);
    }
    std::array<int, 2> out{};
    if (pipe2(out.data(), O_CLOEXEC) != 0) fail("pipe2");
    pid_ = fork();
    if (pid_ < 0) fail("fork");
    if (pid_ == 0) become(command, out[1]);
    close(out[1]);
    const std::string line = first_line(out[0]);
    close(out[0]);
    const std::string marker = "listening ";
    if (line.starts_with(marker)) {
        std::from_chars(line.data() + marker.size(), line.data() + line.size(), port_);
    }
    if (port_ == 0) {
        kill(pid_, SIGKILL);
        waitpid(pid_, nullptr, 0);
        throw std::runtime_error(entry.name + " does not serve; it said: " + line);
    }
}

Server::~Server() {
    if (pid_ < 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
}

std::size_t Server::processes() const {
    const std::string id = std::to_string(pid_);
    std::ifstream file("/proc/" + id + "/task/" + id + "/children");
    std::size_t count = 1;
    for (std::string child; file >> child;) ++count;
    return count;
}

int Server::end_with(int signal) {
    kill(pid_, signal);
    const auto deadline = Clock::now() + patience;
    for (int status = 0; Clock::now() < deadline; std::this_thread::sleep_for(1ms)) {
        if (waitpid(pid_, &status, WNOHANG) != pid_) continue;
        pid_ = -1;
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    return -1;
}

Client::Client(std::uint16_t port) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    if (fd_ < 0) fail("socket");
    const timeval limit{.tv_sec = 10, .tv_usec = 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return;
    const int error = errno;
    close(fd_);
    errno = error;
    fail("connect");
}

Client::~Client() {
    close(fd_);
}

void Client::send(const std::string& bytes) const {
    for (std::size_t at = 0; at < bytes.size();) {
        const ssize_t sent = ::send(fd_, bytes.data() + at, bytes.size() - at, MSG_NOSIGNAL);
        if (sent < 0) fail("send");
        at += static_cast<std::size_t>(sent);
    }
}

std::size_t Client::stuff(const std::string& bytes) const {
    std::size_t at = 0;
    for (pollfd room{fd_, POLLOUT, 0}; at < bytes.size() && poll(&room, 1, 100) > 0;) {
        const ssize_t sent =
            ::send(fd_, bytes.data() + at, bytes.size() - at, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno != EAGAIN) fail("send");
        if (sent > 0) at += static_cast<std::size_t>(sent);
    }
    return at;
}

void Client::finish() const {
    if (shutdown(fd_, SHUT_WR) != 0) fail("shutdown");
}

void Client::abort() {
    const linger none{.l_onoff = 1, .l_linger = 0};
    setsockopt(fd_, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    close(fd_);
    fd_ = -1;
}

std::string Client::receive() const {
    std::string bytes(std::size_t{64} * 1024, '\0');
    const ssize_t got = recv(fd_, bytes.data(), bytes.size(), 0);
    if (got < 0) fail("recv");
    bytes.resize(static_cast<std::size_t>(got));
    return bytes;
}

std::string Client::receive(std::size_t size) const {
    std::string bytes;
    while (bytes.size() < size) {
        std::string part(size - bytes.size(), '\0');
        const ssize_t got = recv(fd_, part.data(), part.size(), 0);
        if (got < 0) fail("recv");
        if (got == 0) break;
        bytes.append(part, 0, static_cast<std::size_t>(got));
    }
    return bytes;
}

}  // namespace bench
