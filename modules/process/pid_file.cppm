module;
#include <sys/types.h>
export module ringfort.process:pid_file;

import ringfort.base;
import ringfort.std;
import :spawn;

export namespace ringfort::process {

/// The file that says which process is the master, and the lock that proves that it lives.
///
/// The file is complete from the moment it appears under its name: it is written and locked under
/// another name, then renamed. Two locks of open file descriptions (fcntl(2)), one byte each, make
/// that safe: the first byte is *claimed* by whoever starts, on the old file, so that two starters
/// cannot both replace it; the second byte is held on the new file by the process whose pid the
/// text is. A stale text is thus never taken for a living process, whatever its pid is today.
/// The kernel drops the locks with the process: kill -9 leaves the file, but stale.
class PidFile {
public:
    /// Writes this process's pid to `path` and holds the lock. A stale file is replaced. A relative
    /// path binds the caller to its working directory. The mode is 0644, less the umask.
    /// Errors: EBUSY when another living process holds the file or is just claiming it
    /// (`running_pid` tells which); ELOOP for a symbolic link, EINVAL for anything else that is not
    /// a regular file, or is one whose text is no pid: somebody needs that; those of open(2),
    /// write(2), rename(2). Nothing is left behind then.
    [[nodiscard]] static Result<PidFile> create(const std::string& path);
    /// As above, for another process, which gets the descriptor and adopts it; until then the file
    /// is this process's to remove.
    [[nodiscard]] static Result<PidFile> create(const std::string& path, pid_t holder);
    /// Tells whether `create` would succeed, as far as can be told without making or locking
    /// anything. Errors: those of `create`.
    [[nodiscard]] static Result<void> examine(const std::string& path);
    /// Takes the file over that another process has created for this one. Errors: EINVAL for what
    /// is not a regular file.
    [[nodiscard]] static Result<PidFile> adopt(const std::string& path, Fd file);
    /// Makes what is to take the place of the file at `path`, whose locks this process holds
    /// together with the one that passed `held` on: complete and locked, with this process's pid,
    /// beside it until `take_place`. Errors: EINVAL when `held` is not that file; those of `create`
    /// but EBUSY.
    [[nodiscard]] static Result<PidFile> succeed(const std::string& path, const Fd& held);
    /// Puts the file that `succeed` made in its place; otherwise does nothing. Errors: those of
    /// rename(2).
    [[nodiscard]] Result<void> take_place();

    PidFile(PidFile&& other) noexcept = default;
    PidFile& operator=(PidFile&& other) noexcept;
    /// Removes the file and drops the lock, if this is the process that created it and the file
    /// under the name still is that file. In a forked child it removes nothing.
    ~PidFile();

    /// Removes what a successor made beside the file and did not put in its place.
    void discard_successor() const noexcept;

    /// Leaves the file to another process, which puts its own in its place; the locks stay.
    void disown() noexcept { owner_ = -1; }
    /// Takes that back, and makes the file anew if it is no longer there or the other process,
    /// which has died, has put its own in its place. Errors: those of `create`; then nothing is
    /// this process's.
    [[nodiscard]] Result<void> take_back();

    /// Gives up the file without removing it, for a child that goes on without its parent's
    /// statics: closes this process's copy of the descriptor, if it still is that file.
    void release() noexcept;

    /// Returns the path as given to `create`.
    [[nodiscard]] const std::string& path() const noexcept { return path_; }
    /// Returns the descriptor that holds the locks, to pass on.
    [[nodiscard]] const Fd& file() const noexcept { return file_; }

private:
    PidFile(std::string path, Fd file, dev_t device, ino_t inode) noexcept;

    [[nodiscard]] static Result<PidFile> make_beside(const std::string& path, pid_t holder);
    [[nodiscard]] static Result<PidFile> replace(const std::string& path, pid_t holder);
    void remove() noexcept;

    std::string path_;
    std::string name_;  ///< where it is now: `path_`, or beside it
    Fd file_;           ///< holds the locks
    dev_t device_ = 0;  ///< with `inode_`: which file it was; a descriptor's number may be reused
    ino_t inode_ = 0;
    pid_t owner_ = -1;
};

/// Reads the pid that a pid file names, without asking whether that process lives.
/// Errors: ENODATA for an empty file; EINVAL for a text that is no pid and for what is not a
/// regular file; those of open(2), such as ENOENT.
[[nodiscard]] Result<pid_t> read_pid(const std::string& path);

/// Finds the process that holds a pid file. The pidfd was opened while it held the file, so a
/// signal sent through it reaches that process or nobody.
/// Errors: ESRCH for a stale file: nobody holds it; those of `read_pid` and pidfd_open(2).
[[nodiscard]] Result<Child> find_running(const std::string& path);

/// Returns the pid of `find_running`, for people.
[[nodiscard]] Result<pid_t> running_pid(const std::string& path);

}  // namespace ringfort::process
