module;
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <ringfort/try.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>
module ringfort.process;

namespace ringfort::process {
namespace {

constexpr std::size_t max_entry_bytes = std::size_t{1} << 20;  // a group of 100,000 members

struct UserEntry {
    std::string name;
    uid_t uid = 0;
    std::optional<gid_t> primary;  ///< nothing for a number without an entry
};

/// Asks one of get{pw,gr}{nam,uid,gid}_r(3); nothing when there is no such entry.
template <class Record, class Key, class Take>
auto query(Step step, int (*get)(Key, Record*, char*, std::size_t, Record**), Key key, Take take)
    -> Result<std::optional<decltype(take(std::declval<const Record&>()))>> {
    using Taken = std::optional<decltype(take(std::declval<const Record&>()))>;
    for (std::size_t size = 1024; size <= max_entry_bytes; size *= 2) {
        std::vector<char> buffer(size);
        Record record{};
        Record* found = nullptr;
        const int failure = get(key, &record, buffer.data(), buffer.size(), &found);
        if (failure == ERANGE) continue;
        if (found != nullptr) return Taken{take(*found)};
        if (failure == 0 || failure == ENOENT || failure == ESRCH) return Taken{};
        return Error{step, failure};
    }
    return Error{step, ERANGE};
}

/// Reads a uid or gid; nothing for a text that is no number. -1 means "unchanged" to the kernel.
Result<std::optional<id_t>> parse_id(Step step, std::string_view text) {
    id_t id = 0;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), id);
    if (text.empty() || text.find_first_not_of("0123456789") != text.npos)
        return std::optional<id_t>{};
    if (failure != std::errc{} || id == static_cast<id_t>(-1)) return Error{step, EINVAL};
    return std::optional{id};
}

Result<UserEntry> find_user(const std::string& user) {
    constexpr Step step{"look up the user"};
    const auto take = [](const passwd& entry) {
        return UserEntry{entry.pw_name, entry.pw_uid, entry.pw_gid};
    };
    if (user.empty()) return Error{step, EINVAL};
    RF_LET(auto named, query<passwd>(step, ::getpwnam_r, user.c_str(), take));
    if (named) return *std::move(named);
    RF_LET(const auto number, parse_id(step, user));
    if (!number) return Error{step, ENOENT};
    RF_LET(auto numbered, query<passwd>(step, ::getpwuid_r, *number, take));
    if (numbered) return *std::move(numbered);
    return UserEntry{user, *number, std::nullopt};
}

Result<gid_t> find_group(const std::string& group) {
    constexpr Step step{"look up the group"};
    const auto take = [](const ::group& entry) { return entry.gr_gid; };
    RF_LET(const auto named, query<::group>(step, ::getgrnam_r, group.c_str(), take));
    if (named) return *named;
    RF_LET(const auto number, parse_id(step, group));
    if (!number) return Error{step, ENOENT};
    return gid_t{*number};
}

Result<std::vector<gid_t>> groups_of(const UserEntry& user, gid_t group) {
    if (!user.primary) return std::vector<gid_t>{group};  // initgroups(3) needs an entry
    std::vector<gid_t> groups(16);
    while (true) {
        int count = static_cast<int>(groups.size());
        const int answer = ::getgrouplist(user.name.c_str(), group, groups.data(), &count);
        if (answer < 0 && groups.size() > NGROUPS_MAX) return Error{"look up the groups", ERANGE};
        groups.resize(answer < 0 ? groups.size() * 2 : static_cast<std::size_t>(count));
        if (answer >= 0) return groups;
    }
}

/// Nobody may be able to become root again. In particular a process that keeps its capabilities
/// over setresuid(2) (PR_SET_SECUREBITS) could.
bool root_is_gone() noexcept {
    return ::setuid(0) != 0 && ::seteuid(0) != 0 && ::getuid() != 0 && ::geteuid() != 0;
}

}  // namespace

Result<uid_t> find_user_id(const std::string& user) {
    RF_LET(const UserEntry entry, find_user(user));
    return uid_t{entry.uid};
}

Result<gid_t> find_group_id(const std::string& group) {
    return find_group(group);
}

Result<Credentials> Credentials::lookup(std::string_view user, std::string_view group) {
    RF_LET(UserEntry entry, find_user(std::string{user}));
    Credentials credentials;
    if (!group.empty()) {
        RF_LET(credentials.gid_, find_group(std::string{group}));
    } else {
        if (!entry.primary) return Error{"look up the user's group", EINVAL};
        credentials.gid_ = *entry.primary;
    }
    RF_LET(credentials.groups_, groups_of(entry, credentials.gid_));
    credentials.uid_ = entry.uid;
    credentials.user_ = std::move(entry.name);
    return credentials;
}

Credentials Credentials::of(std::string user, uid_t uid, gid_t gid, std::vector<gid_t> groups) {
    Credentials credentials;
    credentials.user_ = std::move(user);
    credentials.uid_ = uid;
    credentials.gid_ = gid;
    credentials.groups_ = std::move(groups);
    return credentials;
}

Result<DropOutcome> Credentials::drop() const {
    if (::geteuid() != 0) return DropOutcome::not_root;
    if (::setgroups(groups_.size(), groups_.data()) != 0) return Error::last("setgroups");
    if (::setresgid(gid_, gid_, gid_) != 0) return Error::last("setresgid");
    if (::setresuid(uid_, uid_, uid_) != 0) return Error::last("setresuid");
    if (uid_ != 0 && !root_is_gone()) return Error{"give up root for good", EPERM};
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return Error::last("prctl(PR_SET_NO_NEW_PRIVS)");
    return DropOutcome::dropped;
}

}  // namespace ringfort::process
