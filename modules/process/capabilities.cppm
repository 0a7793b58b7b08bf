export module ringfort.process:capabilities;

import ringfort.base;

export namespace ringfort::process {

/// Takes every capability out of the bounding set, so that no program this process might execute
/// gains one. Needs CAP_SETPCAP, thus comes before `Credentials::drop`; without it nothing is
/// changed, as then the process has no more than its user's. Errors: those of prctl(2).
/// Source: capabilities(7).
[[nodiscard]] Result<void> drop_bounding_set();

/// Gives up every capability, of all sets but the bounding one, for good: also as root, who then
/// is a user that owns root's files. Errors: those of capset(2) and prctl(2).
[[nodiscard]] Result<void> drop_capabilities();

/// Keeps this process and its children from gaining privileges by executing a file
/// (PR_SET_NO_NEW_PRIVS). Errors: those of prctl(2).
[[nodiscard]] Result<void> forbid_new_privileges();

}  // namespace ringfort::process
