module;
#include <fcntl.h>
#include <fmt/format.h>
#include <ringfort/try.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
extern "C" {  // glibc 2.36 forgets to say so itself
#include <sys/pidfd.h>
}
module ringfort.process;

namespace ringfort::process {
namespace {

// The bytes that are locked; locks may lie past a file's end, fcntl(2).
constexpr off_t claim_byte = 0;
constexpr off_t holder_byte = 1;
constexpr int claim_attempts = 16;
constexpr const char* beside = ".new";  ///< appended to the name while the file is being made

struct flock write_lock(off_t start, off_t length) noexcept {
    struct flock lock{};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    lock.l_start = start;
    lock.l_len = length;
    return lock;
}

Result<void> lock_bytes(const Fd& file, off_t start, off_t length) {
    auto lock = write_lock(start, length);
    if (::fcntl(file.get(), F_OFD_SETLK, &lock) == 0) return {};
    if (errno == EAGAIN || errno == EACCES) return Error{"claim the pid file", EBUSY};
    return Error::last("fcntl(F_OFD_SETLK)");
}

/// Fails with ESRCH unless somebody holds the file. Only asks: a lock taken to find out could turn
/// a starting master away.
Result<void> expect_holder(const Fd& file) {
    auto lock = write_lock(holder_byte, 1);
    if (::fcntl(file.get(), F_OFD_GETLK, &lock) != 0) return Error::last("fcntl(F_OFD_GETLK)");
    if (lock.l_type == F_UNLCK) return Error{"find the holder of the pid file", ESRCH};
    return {};
}

/// Fails with EBUSY if somebody holds the file, or is just claiming it.
Result<void> expect_nobody(const Fd& file) {
    auto lock = write_lock(claim_byte, holder_byte + 1);
    if (::fcntl(file.get(), F_OFD_GETLK, &lock) != 0) return Error::last("fcntl(F_OFD_GETLK)");
    if (lock.l_type != F_UNLCK) return Error{"claim the pid file", EBUSY};
    return {};
}

Result<struct stat> regular_status(const Fd& file) {
    struct stat status{};
    if (::fstat(file.get(), &status) != 0) return Error::last("fstat the pid file");
    if (!S_ISREG(status.st_mode)) return Error{"open the pid file", EINVAL};
    return status;
}

/// Never follows a link, and never waits: the name may belong to a FIFO.
Result<Fd> open_regular(const std::string& path, int flags) {
    Fd file{::open(path.c_str(), flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0644)};
    if (!file) return Error::last("open the pid file");
    RF_TRY(regular_status(file));
    return file;
}

bool is_same_file(const struct stat& a, dev_t device, ino_t inode) noexcept {
    return a.st_dev == device && a.st_ino == inode;
}

bool is_named(const std::string& path, dev_t device, ino_t inode) noexcept {
    struct stat named{};
    return ::lstat(path.c_str(), &named) == 0 && is_same_file(named, device, inode);
}

Result<pid_t> parse_pid(const Fd& file) {
    char buffer[32];
    const ssize_t size = ::pread(file.get(), buffer, sizeof buffer, 0);
    if (size < 0) return Error::last("read the pid file");
    std::string_view text{buffer, static_cast<std::size_t>(size)};
    if (text.empty()) return Error{"read the pid file", ENODATA};
    if (text.ends_with('\n')) text.remove_suffix(1);
    pid_t pid = 0;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), pid);
    if (failure != std::errc{} || end != text.data() + text.size() || pid <= 0)
        return Error{"read the pid file", EINVAL};
    return pid;
}

/// Fails with EINVAL for a text that is no pid: somebody needs it. An empty file will do.
Result<void> expect_replaceable(const Fd& file) {
    const auto pid = parse_pid(file);
    if (pid || pid.error().is(std::errc::no_message_available)) return {};
    return pid.error().is(std::errc::invalid_argument)
               ? Error{"there is a file whose text is no process id", EINVAL}
               : pid.error();
}

Result<void> write_pid(const Fd& file, pid_t pid) {
    const std::string text = fmt::format("{}\n", pid);
    const ssize_t written = ::write(file.get(), text.data(), text.size());
    if (written < 0) return Error::last("write the pid file");
    if (static_cast<std::size_t>(written) != text.size())
        return Error{"write the pid file", ENOSPC};
    return {};
}

}  // namespace

PidFile::PidFile(std::string path, Fd file, dev_t device, ino_t inode) noexcept
    : path_{std::move(path)},
      name_{path_},
      file_{std::move(file)},
      device_{device},
      inode_{inode},
      owner_{::getpid()} {}

/// Makes a complete and locked file beside the one the caller has claimed.
Result<PidFile> PidFile::make_beside(const std::string& path, pid_t holder) {
    const std::string temporary = path + beside;
    // The claim makes us the only writer of this name: what is there is left over.
    ::unlink(temporary.c_str());
    RF_LET(Fd file, open_regular(temporary, O_RDWR | O_CREAT | O_EXCL));
    RF_LET(const auto status, regular_status(file));
    PidFile made{path, std::move(file), status.st_dev, status.st_ino};
    made.name_ = temporary;  // from here on it is removed if a step fails
    RF_TRY(lock_bytes(made.file_, claim_byte, holder_byte + 1));
    RF_TRY(write_pid(made.file_, holder));
    return made;
}

Result<void> PidFile::take_place() {
    if (name_ == path_) return {};
    if (::rename(name_.c_str(), path_.c_str()) != 0) return Error::last("rename the pid file");
    name_ = path_;
    return {};
}

Result<PidFile> PidFile::replace(const std::string& path, pid_t holder) {
    RF_LET(PidFile made, make_beside(path, holder));
    RF_TRY(made.take_place());
    return made;
}

Result<PidFile> PidFile::adopt(const std::string& path, Fd file) {
    RF_LET(const auto status, regular_status(file));
    return PidFile{path, std::move(file), status.st_dev, status.st_ino};
}

Result<PidFile> PidFile::succeed(const std::string& path, const Fd& held) {
    RF_LET(const auto status, regular_status(held));
    if (!is_named(path, status.st_dev, status.st_ino))
        return Error{"succeed to the pid file", EINVAL};
    return make_beside(path, ::getpid());
}

Result<PidFile> PidFile::create(const std::string& path) {
    return create(path, ::getpid());
}

Result<PidFile> PidFile::create(const std::string& path, pid_t holder) {
    for (int attempt = 0; attempt < claim_attempts; ++attempt) {
        RF_LET(const Fd old, open_regular(path, O_RDWR | O_CREAT));
        RF_TRY(lock_bytes(old, claim_byte, 1));
        RF_LET(const auto status, regular_status(old));
        // Its holder may have removed it, or a starter replaced it, between our open and our lock.
        if (!is_named(path, status.st_dev, status.st_ino)) continue;
        RF_TRY(expect_replaceable(old));
        auto made = replace(path, holder);
        if (!made && status.st_size == 0) ::unlink(path.c_str());
        return made;
    }
    return Error{"claim the pid file", EBUSY};
}

Result<void> PidFile::examine(const std::string& path) {
    RF_TRY(may_create(path));
    const auto file = open_regular(path, O_RDWR);
    if (!file) {
        if (file.error().is(std::errc::no_such_file_or_directory)) return {};
        return file.error();
    }
    RF_TRY(expect_nobody(*file));
    return expect_replaceable(*file);
}

PidFile& PidFile::operator=(PidFile&& other) noexcept {
    if (this != &other) {
        remove();
        path_ = std::move(other.path_);
        name_ = std::move(other.name_);
        file_ = std::move(other.file_);
        device_ = other.device_;
        inode_ = other.inode_;
        owner_ = other.owner_;
    }
    return *this;
}

PidFile::~PidFile() {
    remove();
}

void PidFile::remove() noexcept {
    // The name first: while we hold the lock nobody else puts a file there.
    if (file_ && owner_ == ::getpid() && is_named(name_, device_, inode_)) ::unlink(name_.c_str());
    release();
}

Result<void> PidFile::take_back() {
    if (!is_named(path_, device_, inode_)) {
        RF_LET(*this, create(path_));
    }
    owner_ = ::getpid();
    return {};
}

void PidFile::discard_successor() const noexcept {
    if (owner_ == ::getpid()) ::unlink((path_ + beside).c_str());
}

void PidFile::release() noexcept {
    struct stat status{};
    const bool ours =
        file_ && ::fstat(file_.get(), &status) == 0 && is_same_file(status, device_, inode_);
    // A spawned child has closed the descriptor already; its number may be somebody else's now.
    if (!ours) static_cast<void>(file_.release());
    file_.close();
}

Result<pid_t> read_pid(const std::string& path) {
    RF_LET(const Fd file, open_regular(path, O_RDONLY));
    return parse_pid(file);
}

Result<Child> find_running(const std::string& path) {
    RF_LET(const Fd file, open_regular(path, O_RDONLY));
    RF_TRY(expect_holder(file));
    RF_LET(const pid_t pid, parse_pid(file));
    Fd pidfd{::pidfd_open(pid, 0)};
    if (!pidfd) return Error::last("pidfd_open");
    // Still held: so the pid was not reused before we had the pidfd.
    RF_TRY(expect_holder(file));
    return Child{.pid = pid, .pidfd = std::move(pidfd)};
}

Result<pid_t> running_pid(const std::string& path) {
    RF_LET(const Child running, find_running(path));
    return running.pid;
}

}  // namespace ringfort::process
