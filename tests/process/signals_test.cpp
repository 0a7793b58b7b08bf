#include <catch2/catch_test_macros.hpp>

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <system_error>

#include "in_child.h"

import ringfort.base;
import ringfort.process;

namespace {

using namespace ringfort;
using namespace ringfort::process;

std::string describe(SignalFd& signals) {
    const auto signal = signals.next();
    if (!signal) return signal.error().text();
    if (!*signal) return "none";
    const char* sender = (*signal)->sender == ::getpid() ? " from me" : " from another";
    return signal_name((*signal)->number) + sender;
}

}  // namespace

TEST_CASE("signals are received as events, with their sender, and only those asked for") {
    const std::string text = in_child([]() -> std::string {
        auto signals = SignalFd::open({SIGTERM, SIGHUP});
        if (!signals) return signals.error().text();
        std::string seen = describe(*signals);
        ::kill(::getpid(), SIGTERM);
        ::kill(::getpid(), SIGHUP);
        if (!wait_readable(signals->fd())) return "not readable";
        for (int i = 0; i < 3; ++i) seen += ", " + describe(*signals);
        return seen;
    });
    CHECK(text == "none, SIGHUP from me, SIGTERM from me, none");
}

TEST_CASE("signals that were blocked before stay blocked") {
    const std::string text = in_child([]() -> std::string {
        auto first = SignalFd::open({SIGUSR1});
        const auto second = SignalFd::open({SIGUSR2});
        if (!first || !second) return "not opened";
        ::kill(::getpid(), SIGUSR1);
        return describe(*first);
    });
    CHECK(text == "SIGUSR1 from me");
}

TEST_CASE("a signalfd is non-blocking and close-on-exec") {
    const std::string text = in_child([]() -> std::string {
        const auto signals = SignalFd::open({SIGUSR1});
        if (!signals) return signals.error().text();
        return std::string{(::fcntl(signals->fd(), F_GETFD) & FD_CLOEXEC) != 0 ? "cloexec " : ""} +
               ((::fcntl(signals->fd(), F_GETFL) & O_NONBLOCK) != 0 ? "nonblock" : "");
    });
    CHECK(text == "cloexec nonblock");
}

TEST_CASE("an inherited ignored disposition does not hide a signal") {
    const std::string text = in_child([]() -> std::string {
        ::signal(SIGHUP, SIG_IGN);  // nohup(1)
        auto signals = SignalFd::open({SIGHUP});
        if (!signals) return signals.error().text();
        ::kill(::getpid(), SIGHUP);
        return describe(*signals);
    });
    CHECK(text == "SIGHUP from me");
}

TEST_CASE("a number that is no signal is refused and changes nothing") {
    const std::string text = in_child([] {
        const std::string before = status_line("SigBlk");
        const auto signals = SignalFd::open({SIGTERM, 999});
        const bool refused = !signals && signals.error().is(std::errc::invalid_argument);
        const bool same = status_line("SigBlk") == before;
        return std::string{refused ? "refused" : "taken"} + (same ? ", same" : ", changed");
    });
    CHECK(text == "refused, same");
}

TEST_CASE("an ignored signal does nothing; SIGKILL cannot be ignored") {
    const std::string text = in_child([]() -> std::string {
        if (auto done = process::ignore({SIGPIPE, SIGUSR2}); !done) return done.error().text();
        ::raise(SIGPIPE);
        ::raise(SIGUSR2);
        const auto refused = process::ignore({SIGKILL});
        return refused ? "taken" : "alive, " + refused.error().code().message();
    });
    CHECK(text == "alive, Invalid argument");
}

TEST_CASE("unblocking delivers what was pending") {
    const std::string text = in_child([]() -> std::string {
        const auto signals = SignalFd::open({SIGUSR1});
        ::kill(::getpid(), SIGUSR1);
        unblock_all();
        return "survived";
    });
    CHECK(text == "(ended with status " + std::to_string(SIGUSR1) + ")");
}

TEST_CASE("signals have names") {
    CHECK(signal_name(SIGKILL) == "SIGKILL");
    CHECK(signal_name(SIGTERM) == "SIGTERM");
    CHECK(signal_name(SIGRTMIN) == "SIGRTMIN+0");
    CHECK(signal_name(SIGRTMIN + 3) == "SIGRTMIN+3");
    CHECK(signal_name(0) == "unknown");
    CHECK(signal_name(-1) == "unknown");
    CHECK(signal_name(4'000) == "unknown");
}
