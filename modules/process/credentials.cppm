module;
#include <sys/types.h>
export module ringfort.process:credentials;

import ringfort.base;
import ringfort.std;

export namespace ringfort::process {

/// What `Credentials::drop` did.
enum class DropOutcome : std::uint8_t {
    dropped,  ///< the process runs with the credentials now, for good
    not_root  ///< nothing was changed: only root can become somebody else. The caller warns, or not
};

/// Looks the number of a user or of a group up, by name or by number. Blocks as long as the
/// system's name service does. Errors: ENOENT with the step "look up the user" or "look up the
/// group"; those of getpwnam_r(3).
[[nodiscard]] Result<uid_t> find_user_id(const std::string& user);
[[nodiscard]] Result<gid_t> find_group_id(const std::string& group);

/// The user and the groups that workers run as. A value: looked up by the master, dropped to by the
/// worker, which then reads no file and asks no name service.
class Credentials {
public:
    /// Looks a user and a group up, each by name or by number. An empty `group` means the user's
    /// primary group; a number without an entry in the user database needs a group. The
    /// supplementary groups are the user's. Blocks as long as the system's name service does: call
    /// it while a configuration is built, not while serving.
    /// Errors: ENOENT with the step "look up the user" or "look up the group"; EINVAL for an empty
    /// user, a number out of range, a number that needs a group; those of getpwnam_r(3).
    [[nodiscard]] static Result<Credentials> lookup(std::string_view user,
                                                    std::string_view group = {});

    /// Takes what another process has looked up: its name, its numbers, all of its groups.
    [[nodiscard]] static Credentials of(std::string user, uid_t uid, gid_t gid,
                                        std::vector<gid_t> groups);

    /// Becomes the user: groups, group, user, checks that root cannot be regained, and sets
    /// PR_SET_NO_NEW_PRIVS. With an effective uid other than 0 nothing is done. Afterwards the
    /// process leaves no core and its /proc files belong to root (prctl(2), PR_SET_DUMPABLE).
    /// Errors: EPERM and EINVAL of setgroups(2), setresgid(2), setresuid(2); EPERM when root could
    /// be regained. After an error the process is in between: it has to exit.
    [[nodiscard]] Result<DropOutcome> drop() const;

    /// Return who the credentials are.
    [[nodiscard]] uid_t uid() const noexcept { return uid_; }
    [[nodiscard]] gid_t gid() const noexcept { return gid_; }
    [[nodiscard]] const std::vector<gid_t>& groups() const noexcept { return groups_; }
    /// Returns the name, or the number as text for a user without an entry.
    [[nodiscard]] const std::string& user() const noexcept { return user_; }

private:
    Credentials() = default;

    std::string user_;
    uid_t uid_ = 0;
    gid_t gid_ = 0;
    std::vector<gid_t> groups_;  ///< all of them, `gid_` among them
};

}  // namespace ringfort::process
