export module ringfort.process:title;

import ringfort.base;
import ringfort.std;

export namespace ringfort::process {

/// The process's title: what ps(1), top(1) and /proc/self/cmdline show.
///
/// Linux shows the memory in which the kernel laid argv down, followed by the environment; a title
/// is written over both. Source: nginx os/unix/ngx_setproctitle.c; fs/proc/base.c, get_mm_cmdline.
class Title {
public:
    /// Takes that memory over: copies the arguments and the environment to the heap and points
    /// `argv` and `environ` at the copies, which are never freed. Called once, first thing in main:
    /// nobody may hold a pointer into the old strings yet. When the environment was replaced
    /// before, only the room of the arguments is used. `argc` of 0 leaves no room.
    static void prepare(int argc, char** argv);

    /// Sets the title, cut to the room there is, and the thread's name (`PR_SET_NAME`, cut to 15
    /// bytes), which pgrep(1) and core files use. Without `prepare` only the name changes.
    static void set(std::string_view text) noexcept;
};

}  // namespace ringfort::process
