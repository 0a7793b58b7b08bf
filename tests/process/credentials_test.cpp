#include <catch2/catch_test_macros.hpp>

#include <grp.h>
#include <linux/securebits.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <string>
#include <system_error>

#include "in_child.h"

import ringfort.base;
import ringfort.process;

namespace {

using namespace ringfort;
using namespace ringfort::process;

std::string failure(const Result<Credentials>& result) {
    return result ? "found" : result.error().text();
}

/// Drops to a user in this process and shows what the kernel says of it then.
std::string dropped_to(const char* user, const char* group) {
    const auto credentials = Credentials::lookup(user, group);
    if (!credentials) return credentials.error().text();
    const auto outcome = credentials->drop();
    if (!outcome) return outcome.error().text();
    if (*outcome == DropOutcome::not_root) return "not root";
    return status_line("Uid") + " | " + status_line("Gid") + " | " + status_line("Groups") + "| " +
           status_line("NoNewPrivs") + " | " + status_line("CapEff");
}

std::string four(id_t id) {
    const std::string text = std::to_string(id);
    return text + "\t" + text + "\t" + text + "\t" + text;
}

constexpr const char* no_capabilities = "0000000000000000";

}  // namespace

TEST_CASE("a user is looked up by name and by number") {
    const passwd* root = ::getpwnam("root");
    REQUIRE(root != nullptr);
    for (const char* user : {"root", "0"}) {
        const auto found = Credentials::lookup(user);
        REQUIRE(found.has_value());
        CHECK(found->uid() == 0);
        CHECK(found->gid() == root->pw_gid);
        CHECK(found->user() == "root");
    }
}

TEST_CASE("a group is looked up by name and by number, the user's primary one when empty") {
    const passwd* nobody = ::getpwnam("nobody");
    const group* daemon = ::getgrnam("daemon");
    if (nobody == nullptr || daemon == nullptr) SKIP("no user nobody or no group daemon here");
    const gid_t primary = nobody->pw_gid;
    CHECK(Credentials::lookup("nobody").value().gid() == primary);
    CHECK(Credentials::lookup("nobody", "daemon").value().gid() == daemon->gr_gid);
    CHECK(Credentials::lookup("nobody", "54322").value().gid() == 54'322);
}

TEST_CASE("a number without an entry is a user if a group is given") {
    const auto found = Credentials::lookup("54321", "54322");
    REQUIRE(found.has_value());
    CHECK(found->uid() == 54'321);
    CHECK(found->gid() == 54'322);
    CHECK(found->user() == "54321");
    CHECK(failure(Credentials::lookup("54321")) == "look up the user's group: Invalid argument");
}

TEST_CASE("an unknown user or group is an error that says which of the two it is") {
    CHECK(failure(Credentials::lookup("no-such-user")) ==
          "look up the user: No such file or directory");
    CHECK(failure(Credentials::lookup("root", "no-such-group")) ==
          "look up the group: No such file or directory");
    CHECK(failure(Credentials::lookup("")) == "look up the user: Invalid argument");
    CHECK(failure(Credentials::lookup("4294967295", "0")) == "look up the user: Invalid argument");
    CHECK(failure(Credentials::lookup("99999999999", "0")) == "look up the user: Invalid argument");
    CHECK(failure(Credentials::lookup("root", "-1")) ==
          "look up the group: No such file or directory");
}

TEST_CASE("root drops to a user for good") {
    if (::geteuid() != 0) SKIP("only root can become another user");
    const passwd* nobody = ::getpwnam("nobody");
    if (nobody == nullptr) SKIP("no user nobody here");
    const id_t uid = nobody->pw_uid;
    const id_t gid = nobody->pw_gid;
    const std::string text = in_child([] {
        const gid_t privileged[] = {0, 1, 2};
        ::setgroups(3, privileged);
        return dropped_to("nobody", "");
    });
    CHECK(text == four(uid) + " | " + four(gid) + " | " + std::to_string(gid) + " | 1 | " +
                      no_capabilities);
}

TEST_CASE("root drops to numbers without entries") {
    if (::geteuid() != 0) SKIP("only root can become another user");
    CHECK(in_child([] { return dropped_to("54321", "54322"); }) ==
          four(54'321) + " | " + four(54'322) + " | 54322 | 1 | " + no_capabilities);
}

TEST_CASE("a drop from which root could be regained is an error") {
    if (::geteuid() != 0) SKIP("only root can become another user");
    const std::string text = in_child([]() -> std::string {
        if (::prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP) != 0) return "no securebits";
        return dropped_to("54321", "54322");
    });
    if (text == "no securebits") SKIP("the securebits cannot be set here");
    CHECK(text == "give up root for good: Operation not permitted");
}

TEST_CASE("without being root nothing is changed, and that is said") {
    const std::string text = in_child([]() -> std::string {
        if (::geteuid() == 0 && ::setresuid(54'321, 54'321, 54'321) != 0) return "still root";
        return dropped_to("root", "") + " " + status_line("NoNewPrivs");
    });
    CHECK(text == "not root 0");
}
