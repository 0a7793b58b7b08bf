module;
#include <fcntl.h>
#include <linux/io_uring.h>
#include <sys/stat.h>

#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
module ringfort.uring;

import ringfort.base;
import ringfort.coro;

namespace ringfort::uring {
namespace {

int flags_of(const OpenOptions& options) noexcept {
    int flags = O_CLOEXEC;
    switch (options.access) {
        case Access::read:
            flags |= O_RDONLY;
            break;
        case Access::write:
            flags |= O_WRONLY;
            break;
        case Access::read_write:
            flags |= O_RDWR;
            break;
        case Access::append:
            flags |= O_WRONLY | O_APPEND;
            break;
    }
    switch (options.creation) {
        case Creation::never:
            return flags;
        case Creation::if_missing:
            return flags | O_CREAT;
        case Creation::truncate:
            return flags | O_CREAT | O_TRUNC;
        case Creation::exclusive:
            return flags | O_CREAT | O_EXCL;
    }
    return flags;
}

}  // namespace

OpenOperation File::open(Loop& loop, const std::string& path, const OpenOptions& options) noexcept {
    return {loop,
            {.opcode = Opcode::open,
             .fd = options.directory,
             .address = path.c_str(),
             .length = options.permissions,
             .flags = static_cast<std::uint32_t>(flags_of(options))}};
}

Result<File> OpenOperation::await_resume() const noexcept {
    if (result() < 0) return error();
    return File{owner_, Fd{result()}};
}

StatusOperation::StatusOperation(Loop& loop, RawFd fd, const char* path) noexcept
    : Operation{loop,
                {.opcode = Opcode::status,
                 .fd = fd,
                 .address = path,
                 .length = STATX_BASIC_STATS,
                 .offset = reinterpret_cast<std::uintptr_t>(&answer_),
                 .flags = *path == '\0' ? AT_EMPTY_PATH : 0U},
                {}},
      answer_{} {}

Result<FileStatus> StatusOperation::await_resume() const noexcept {
    if (result() < 0) return error();
    using std::chrono::system_clock;
    const auto since = std::chrono::seconds{answer_.stx_mtime.tv_sec} +
                       std::chrono::nanoseconds{answer_.stx_mtime.tv_nsec};
    return FileStatus{.size = {answer_.stx_size},
                      .mode = answer_.stx_mode,
                      .links = answer_.stx_nlink,
                      .inode = answer_.stx_ino,
                      .modified = system_clock::time_point{
                          std::chrono::duration_cast<system_clock::duration>(since)}};
}

Counted<VoidOperation> File::sync(SyncScope scope) noexcept {
    const std::uint32_t flags = scope == SyncScope::data ? IORING_FSYNC_DATASYNC : 0;
    return {operations_, [&] {
                return VoidOperation{
                    *loop_, {.opcode = Opcode::sync, .fd = fd_.get(), .flags = flags}, {}};
            }};
}

}  // namespace ringfort::uring
