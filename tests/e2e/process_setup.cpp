#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <catch2/catch_test_case_info.hpp>
#include <catch2/interfaces/catch_interfaces_config.hpp>
#include <catch2/reporters/catch_reporter_event_listener.hpp>
#include <catch2/reporters/catch_reporter_registrars.hpp>
#include <cerrno>
#include <system_error>

#include "../loopback.h"

namespace e2e {
namespace {

/// Prepares the test process itself: room for thousands of sockets; orphans of a killed master
/// come to us, so that none escapes or stays a zombie. Ports of its own, where it could have them
/// when it was configured, so that no two tests that run at a time take them from each other.
class ProcessSetup : public Catch::EventListenerBase {
public:
    using EventListenerBase::EventListenerBase;

    void testRunStarting(const Catch::TestRunInfo& /*info*/) override {
        rlimit files{};
        if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
            files.rlim_cur = files.rlim_max;
            ::setrlimit(RLIMIT_NOFILE, &files);
        }
        ::prctl(PR_SET_CHILD_SUBREAPER, 1);
        ::signal(SIGPIPE, SIG_IGN);
#ifdef RINGFORT_E2E_OWN_NETWORK
        const int failed = ::unshare(CLONE_NEWNET) != 0 ? errno : testing::raise_loopback();
        if (failed != 0)
            throw std::system_error{failed, std::generic_category(),
                                    "no network namespace, as there was one when the build was "
                                    "configured; configure it anew as this user (cmake --fresh)"};
#endif
    }
};

CATCH_REGISTER_LISTENER(ProcessSetup)

}  // namespace
}  // namespace e2e
