// A server that tries to leave its sandbox: it is told in a line what to try, "open /etc/passwd",
// and answers with a line: "ok", or what the system said.
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <coroutine>
#include <csignal>
#include <cstring>
#include <exception>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

import ringfort;

namespace rf = ringfort;

namespace {

std::string said(long outcome) {
    if (outcome < 0) return ::strerrorname_np(errno);
    if (outcome > STDERR_FILENO) ::close(static_cast<int>(outcome));
    return "ok";
}

std::string said(const rf::Error& error) {
    return ::strerrorname_np(error.code().value());
}

std::string connect(const std::string& to) {
    const auto address = rf::Address::parse(to);
    if (!address) return "no address";
    const rf::Fd socket{::socket(address->family(), SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (!socket) return said(-1);
    return said(::connect(socket.get(), address->data(), address->size()));
}

std::string bind(const std::string&) {
    const rf::Fd socket{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (!socket) return said(-1);
    const auto any = rf::Address::parse("127.0.0.1:0");
    if (::bind(socket.get(), any->data(), any->size()) != 0) return said(-1);
    return said(::listen(socket.get(), 1));
}

std::string fork(const std::string&) {
    const pid_t pid = ::fork();
    if (pid == 0) ::_exit(0);
    if (pid > 0) ::waitpid(pid, nullptr, 0);
    return said(pid < 0 ? -1 : 0);
}

std::string executable(const std::string&) {
    const void* const memory =
        ::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return said(memory == MAP_FAILED ? -1 : 0);
}

/// What is tried by a system call. Where it would succeed outside a sandbox with a consequence, its
/// arguments make it fail in another way there.
const std::map<std::string, std::function<std::string(const std::string&)>> attempts{
    {"open", [](const auto& path) { return said(::open(path.c_str(), O_RDONLY | O_CLOEXEC)); }},
    {"make", [](const auto& path) { return said(::open(path.c_str(), O_WRONLY | O_CREAT, 0600)); }},
    {"remove", [](const auto& path) { return said(::unlink(path.c_str())); }},
    {"connect", connect},
    {"bind", bind},
    {"udp", [](const auto&) { return said(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)); }},
    {"exec",
     [](const auto&) {
         char* const none[] = {nullptr};
         return said(::execve("/no/such/program", none, none));
     }},
    {"fork", fork},
    {"ptrace",
     [](const auto&) { return said(::ptrace(PTRACE_PEEKDATA, ::getppid(), nullptr, nullptr)); }},
    {"signal", [](const auto&) { return said(::kill(::getppid(), 0)); }},
    {"ring", [](const auto&) { return said(::syscall(SYS_io_uring_setup, 1, nullptr)); }},
    {"enter",
     [](const auto&) { return said(::syscall(SYS_io_uring_enter, -1, 0, 0, 0, nullptr, 0)); }},
    {"unshare", [](const auto&) { return said(::unshare(CLONE_FILES)); }},
    {"executable", executable},
    {"chdir", [](const auto&) { return said(::chdir("/")); }},
    {"setuid", [](const auto&) { return said(::setuid(::getuid())); }}};

class Escape {
public:
    static constexpr std::string_view name = "escape";
    struct Config {
        std::vector<rf::Address> reach;
        std::string file;
    };
    static auto schema() {
        return rf::config::table<Config>("Tries what it is told to.")
            .field("reach", &Config::reach, "where it says that it connects")
            .field("file", &Config::file, "what it says that it reads");
    }
    static rf::Reach reach(const Config& config) {
        rf::Reach reach{.connect = config.reach};
        if (!config.file.empty()) reach.read = {config.file};
        return reach;
    }

    rf::Task<rf::Result<void>> serve(rf::net::Stream peer, rf::worker::Context& worker) {
        for (;;) {
            auto chunk = co_await co_await peer.receive();
            if (chunk.empty()) co_return co_await peer.flush();
            std::string line{chunk.text()};
            if (line.ends_with('\n')) line.pop_back();
            const std::size_t space = line.find(' ');
            const std::string word = line.substr(0, space);
            const std::string rest = space == line.npos ? "" : line.substr(space + 1);
            const std::string answer = co_await attempt(worker.loop(), word, rest) + "\n";
            co_await co_await peer.send_all(answer);
        }
    }

private:
    /// Sends a datagram from one socket to another, both of its own; returns what has arrived.
    static rf::Task<std::string> exchange(rf::uring::Loop& loop) {
        auto receiver = rf::net::Datagram::bind(loop, *rf::Address::parse("127.0.0.1:0"));
        if (!receiver) co_return said(receiver.error());
        const auto address = receiver->address();
        auto sender = rf::net::Datagram::connect(loop, *address);
        if (!sender) co_return said(sender.error());
        const std::string_view text = "arrived";
        const auto sent = co_await sender->send(std::as_bytes(std::span{text}));
        if (!sent) co_return said(sent.error());
        const auto packet = co_await receiver->receive(rf::Milliseconds{5'000});
        if (!packet) co_return said(packet.error());
        co_return std::string{packet->bytes.text()};
    }

    static rf::Task<std::string> attempt(rf::uring::Loop& loop, std::string word,
                                         std::string rest) {
        if (word == "ring-open") {
            const auto file = co_await rf::uring::File::open(loop, rest);
            co_return file ? "ok" : said(file.error());
        }
        if (word == "ring-make") {
            const auto file = co_await rf::uring::File::open(
                loop, rest,
                {.access = rf::uring::Access::write, .creation = rf::uring::Creation::if_missing});
            co_return file ? "ok" : said(file.error());
        }
        if (word == "ring-connect") {
            const auto address = rf::Address::parse(rest);
            if (!address) co_return "no address";
            const auto stream = co_await rf::net::connect(loop, *address);
            co_return stream ? "ok" : said(stream.error());
        }
        if (word == "datagrams") co_return co_await exchange(loop);
        const auto found = attempts.find(word);
        co_return found == attempts.end() ? "unknown" : found->second(rest);
    }
};

}  // namespace

int main(int argc, char** argv) {
    return rf::App{"escape", "Tries to leave its sandbox."}.service<Escape>().run(argc, argv);
}
