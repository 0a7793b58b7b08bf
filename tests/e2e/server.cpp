#include "server.h"

#include <signal.h>
#include <sys/types.h>
#include <sys/wait.h>

#include <algorithm>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <exception>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "child.h"
#include "config.h"
#include "deadline.h"
#include "endpoint.h"
#include "files.h"
#include "kernel_sockets.h"
#include "log_file.h"
#include "processes.h"

namespace e2e {
namespace {

std::string next_name() {
    static std::atomic<int> count{0};
    return "server" + std::to_string(++count);
}

std::string written(const std::string& path, std::string_view text) {
    write_file(path, text);
    return path;
}

std::vector<std::string> command(std::vector<std::string> words,
                                 const std::vector<std::string>& options) {
    words.insert(words.end(), options.begin(), options.end());
    return words;
}

/// Reaps those of a killed master's orphans that came to us.
void reap_group(pid_t group) {
    while (::waitpid(-group, nullptr, WNOHANG) > 0) continue;
}

}  // namespace

Server::Server(const std::string& app, const Config& config, const TempDir& dir,
               bool (*before_exec)(), const std::vector<std::string>& options)
    : config_path_{written(dir.file(next_name() + ".toml"), config.text())},
      error_path_{config_path_ + ".err"},
      log_{std::in_place,
           config.log_target.value_or("stderr") == "stderr" ? error_path_ : *config.log_target},
      child_{{.argv = command({app, "-c", config_path_}, options),
              .output_path = error_path_,
              .error_path = error_path_,
              .before_exec = before_exec}},
      unwinding_{std::uncaught_exceptions()} {
    const bool ready = eventually(later(), [&] {
        return !log_->find("ready: generation").empty() || child_.wait(Deadline::now()).has_value();
    });
    if (!ready || log_->find("ready: generation").empty()) {
        kill_all();
        throw std::runtime_error{"not ready:\n" + log_->text() + "\nstandard error:\n" +
                                 read_file(error_path_)};
    }
    note_listeners();
}

Server::~Server() {
    if (std::uncaught_exceptions() > unwinding_)
        std::cerr << "--- log of " << config_path_ << "\n" << log_->text() << "---\n";
    child_.signal(SIGTERM);
    const auto status = child_.wait(later());
    INFO("log:\n" << log_->text());
    if (!killed_) {
        CHECK(status.has_value());
        if (status) {
            CHECK(status->signal() == 0);
            CHECK(status->code() == 0);
        }
    }
    check_nothing_left();
}

void Server::check_nothing_left() {
    note_listeners();
    const bool gone =
        eventually(Deadline::after(milliseconds{3'000}), [&] { return nothing_left(); });
    CHECK(gone);
    for (const pid_t pid : members_of_group(master())) {
        FAIL_CHECK("process " << pid << " has outlived its master");
        ::kill(pid, SIGKILL);
    }
    reap_group(master());
    for (const Listener& listener : listeners_) {
        const std::string path = listener.endpoint.unix_path();
        if (!killed_ && !path.empty()) CHECK_FALSE(std::filesystem::exists(path));
    }
    const std::string errors = read_file(error_path_) + log_->text();
    for (const char* complaint : {"Sanitizer", "runtime error:", "Assertion", "terminate called"})
        CHECK(errors.find(complaint) == errors.npos);
}

bool Server::nothing_left() const {
    reap_group(master());
    if (!members_of_group(master()).empty()) return false;
    return std::none_of(listeners_.begin(), listeners_.end(), [](const Listener& listener) {
        if (listener.inodes.empty()) return false;
        const auto now =
            listener.udp ? datagram_sockets_at(listener.endpoint) : listeners_at(listener.endpoint);
        return std::any_of(now.begin(), now.end(),
                           [&](auto inode) { return listener.inodes.contains(inode); });
    });
}

void Server::note_listeners() {
    constexpr std::string_view heading = "listening on ";
    constexpr std::string_view bracket = " (service ";
    const std::size_t size = log_->mark();
    const std::vector<std::string> lines = log_->find(heading, noted_);
    for (const std::string& line : lines) {
        const std::size_t start = line.find(heading) + heading.size();
        const std::size_t middle = line.find(bracket, start);
        const std::size_t end = line.find(')', middle);
        if (middle == line.npos || end == line.npos) continue;
        Listener listener;
        constexpr std::string_view udp = "/udp";
        std::string address = line.substr(start, middle - start);
        listener.udp = address.ends_with(udp);
        if (listener.udp) address.resize(address.size() - udp.size());
        listener.endpoint = Endpoint::parse(address);
        listener.service = line.substr(middle + bracket.size(), end - middle - bracket.size());
        // Of thousands a sample is enough: each look reads all sockets of the machine.
        if (lines.size() < 100 || listeners_.size() < 2)
            listener.inodes = listener.udp ? datagram_sockets_at(listener.endpoint)
                                           : listeners_at(listener.endpoint);
        listeners_.push_back(std::move(listener));
    }
    noted_ = size;
}

Endpoint Server::at(std::string_view service, std::string_view host) {
    note_listeners();
    const auto found = std::find_if(listeners_.rbegin(), listeners_.rend(), [&](const auto& one) {
        return one.service == service && one.endpoint.text().find(host) != std::string::npos;
    });
    if (found != listeners_.rend()) return found->endpoint;
    throw std::runtime_error{"no listener of " + std::string{service} + " at \"" +
                             std::string{host} + "\" in:\n" + log_->text()};
}

std::vector<pid_t> Server::workers() const {
    std::vector<pid_t> workers = children_of(master());
    // A master has other children for a while, and one that has ended has no title.
    std::erase_if(workers,
                  [](pid_t pid) { return title_of(pid).find(": worker ") == std::string::npos; });
    return workers;
}

pid_t Server::worker(int slot) const {
    const std::string title = ": worker " + std::to_string(slot) + " (";
    pid_t newest = -1;
    for (const pid_t pid : workers())
        if (title_of(pid).find(title) != std::string::npos) newest = std::max(newest, pid);
    REQUIRE(newest > 0);
    return newest;
}

std::vector<pid_t> Server::wait_workers(std::size_t count, Deadline deadline) {
    std::vector<pid_t> result;
    const bool reached = eventually(deadline, [&] {
        result = workers();
        return result.size() == count;
    });
    if (!reached)
        throw std::runtime_error{std::to_string(result.size()) + " workers, not " +
                                 std::to_string(count) + ", in:\n" + log_->text()};
    return result;
}

void Server::write_config(std::string_view text) const {
    write_file(config_path_, text);
}

int Server::reload(Deadline deadline) {
    constexpr std::string_view heading = "reload: generation ";
    const std::size_t mark = log_->mark();
    signal(SIGHUP);
    std::string line;
    const bool answered = eventually(deadline, [&] {
        const auto lines = log_->find("reload", mark);
        for (const std::string& candidate : lines)
            if (candidate.find("reload failed") != candidate.npos ||
                (candidate.find(heading) != candidate.npos &&
                 candidate.find(" serves") != candidate.npos))
                line = candidate;
        return !line.empty();
    });
    const std::size_t at = line.find(heading);
    if (!answered || at == line.npos) throw std::runtime_error{"no reload:\n" + log_->text()};
    note_listeners();
    return std::stoi(line.substr(at + heading.size()));
}

std::string Server::reload_expecting_failure() {
    const std::size_t mark = log_->mark();
    signal(SIGHUP);
    return log_->wait_for("reload failed", mark, later());
}

void Server::kill_master() {
    killed_ = true;
    ::kill(master(), SIGKILL);
    static_cast<void>(child_.wait(later()));
}

void Server::kill_all() {
    killed_ = true;
    ::kill(master(), SIGSTOP);  // nothing is respawned meanwhile
    for (const pid_t pid : members_of_group(master())) ::kill(pid, SIGKILL);
    static_cast<void>(child_.wait(later()));
}

}  // namespace e2e
