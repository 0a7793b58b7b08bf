// Builders are real children.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <compare>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "../temp_dir.h"

import ringfort.base;
import ringfort.channel;
import ringfort.cycle;
import ringfort.master;
import ringfort.process;

using namespace ringfort;
using master::Builder;
using master::offer;
using master::offer_text;
using master::Send;

namespace {

/// Polls as a master does until the builder has ended.
master::Estate finished(Builder& builder) {
    const Instant due = now() + Milliseconds{20'000};
    while (now() < due) {
        pollfd polled[] = {{.fd = builder.channel_fd(), .events = POLLIN, .revents = 0},
                           {.fd = builder.pidfd(), .events = POLLIN, .revents = 0}};
        (void)::poll(polled, 2, 20'000);
        builder.receive();
        if (auto estate = builder.finish()) return *std::move(estate);
    }
    throw std::runtime_error{"the builder does not end"};
}

constexpr Instant due{std::chrono::hours{1}};

Builder start(const Builder::Work& work) {
    return std::move(Builder::start("builder", 7, due, {}, work)).value();
}

/// Reads what proc(5) says of a pidfd.
pid_t process_behind(RawFd pidfd) {
    std::ifstream info{"/proc/self/fdinfo/" + std::to_string(pidfd)};
    std::string word;
    pid_t pid = 0;
    while (info >> word)
        if (word == "Pid:" && info >> pid) return pid;
    return -1;
}

std::size_t descriptors() {
    const std::filesystem::directory_iterator found{"/proc/self/fd"};
    return static_cast<std::size_t>(std::distance(begin(found), end(found)));
}

}  // namespace

TEST_CASE("a builder passes on what it has made, however much, and ends") {
    const std::size_t before = descriptors();
    {
        const std::string text(1'000'000, 'x');  // more than fits into a socket
        auto builder = start([&](const Send& send) {
            const auto opened =
                cycle::Listener::open({.address = Address::parse("127.0.0.1:0").value(),
                                       .service = "echo",
                                       .mode = {}})
                    .value();
            return offer_text(channel::TextUse::configuration, text, send) &&
                   offer(*opened, false, send);
        });
        CHECK(builder.client() == 7);
        CHECK(builder.due() == due);
        const auto estate = finished(builder);
        CHECK(estate.success);
        CHECK(estate.configuration == text);
        CHECK(estate.stock.groups.size() == 1);
        CHECK(estate.findings.empty());
    }
    CHECK(descriptors() == before);
}

TEST_CASE("a builder that fails says why") {
    auto builder = start([](const Send& send) {
        (void)offer_text(channel::TextUse::finding, "no such user", send);
        return false;
    });
    const auto estate = finished(builder);
    CHECK_FALSE(estate.success);
    CHECK(estate.findings == std::vector<std::string>{"no such user"});
}

TEST_CASE("a builder that dies is told of as it died") {
    auto builder = start([](const Send&) -> bool {
        ::kill(::getpid(), SIGKILL);
        return true;
    });
    const auto estate = finished(builder);
    CHECK_FALSE(estate.success);
    REQUIRE(estate.findings.size() == 1);
    CHECK(estate.findings[0].find("killed by signal 9") != std::string::npos);
}

TEST_CASE("a builder that is aborted has not built, whatever it has sent") {
    auto builder = start([](const Send& send) -> bool {
        (void)send(channel::Done{.success = true}, {});
        ::pause();
        return true;
    });
    CHECK_FALSE(builder.finish());  // it lives
    builder.abort("enough");
    builder.abort("not the first reason");
    const auto estate = finished(builder);
    CHECK_FALSE(estate.success);
    CHECK(estate.findings == std::vector<std::string>{"enough"});
}

TEST_CASE("what makes no sense ends a builder") {
    auto builder = start([](const Send& send) -> bool {
        (void)send(channel::Terminate{}, {});
        ::pause();
        return true;
    });
    const auto estate = finished(builder);
    CHECK_FALSE(estate.success);
    REQUIRE(estate.findings.size() == 1);
    CHECK(estate.findings[0].find("another message") != std::string::npos);
}

TEST_CASE("a builder that is dropped is ended, and reaped") {
    pid_t pid = 0;
    {
        const auto builder = start([](const Send&) -> bool {
            ::pause();
            return true;
        });
        pid = process_behind(builder.pidfd());
        REQUIRE(pid > 0);
        CHECK(::kill(pid, 0) == 0);
    }
    CHECK(::kill(pid, 0) != 0);
}

TEST_CASE("a builder that is dropped leaves no file that it had made, whoever ended it") {
    const testing::TempDir directory;
    const std::string path = directory.file("socket");
    {
        auto builder = start([&](const Send& send) -> bool {
            const auto opened =
                cycle::Listener::open({.address = Address::parse("unix:" + path).value(),
                                       .service = "echo",
                                       .mode = {}})
                    .value();
            (void)offer(*opened, false, send);
            ::pause();
            return true;
        });
        pollfd polled{.fd = builder.channel_fd(), .events = POLLIN, .revents = 0};
        REQUIRE(::poll(&polled, 1, 20'000) == 1);  // it has been offered
        CHECK(std::filesystem::exists(path));
    }
    CHECK_FALSE(std::filesystem::exists(path));
}

TEST_CASE("a builder does not outlive its master, however early that one dies") {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    const Fd ours{ends[0]};
    Fd theirs{ends[1]};
    for (int round = 0; round < 50; ++round) {
        const pid_t master = ::fork();
        REQUIRE(master >= 0);
        if (master == 0) {
            const auto builder =
                Builder::start("builder", 0, due, {theirs.get()}, [](const Send&) -> bool {
                    ::alarm(20);  // should it, then not for ever
                    ::pause();
                    return true;
                });
            ::_exit(builder ? 0 : 1);
        }
        int status = -1;
        REQUIRE(::waitpid(master, &status, 0) == master);
        REQUIRE(status == 0);
    }
    theirs.close();
    // At its end when nobody has the other one any more.
    pollfd polled{.fd = ours.get(), .events = POLLIN, .revents = 0};
    CHECK(::poll(&polled, 1, 5'000) == 1);
}

TEST_CASE("a builder has the descriptors it is given, and no others") {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    const Fd kept{ends[0]}, other{ends[1]};
    auto builder =
        std::move(Builder::start("builder", 0, due, {kept.get()}, [&](const Send&) {
            return ::fcntl(kept.get(), F_GETFD) >= 0 && ::fcntl(other.get(), F_GETFD) < 0;
        })).value();
    CHECK(finished(builder).success);
}
