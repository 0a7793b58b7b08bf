/// A process without descriptors, for as long as that is wanted.
#pragma once
#include <fcntl.h>
#include <sys/resource.h>

namespace testing {

/// Lowers the limit so that `spare` more descriptors can be opened, and puts it back.
class DescriptorLimit {
public:
    explicit DescriptorLimit(unsigned spare) {
        ::getrlimit(RLIMIT_NOFILE, &old_);
        const ringfort::Fd probe{::open("/dev/null", O_RDONLY)};
        rlimit lowered = old_;
        lowered.rlim_cur = static_cast<rlim_t>(probe.get()) + spare;
        ::setrlimit(RLIMIT_NOFILE, &lowered);
    }
    ~DescriptorLimit() { ::setrlimit(RLIMIT_NOFILE, &old_); }

    DescriptorLimit(const DescriptorLimit&) = delete;
    DescriptorLimit& operator=(const DescriptorLimit&) = delete;

private:
    rlimit old_{};
};

}  // namespace testing
