/// The mechanisms of a single-threaded master and the workers it forks (and never execs): starting
/// and reaping them, signals as events, titles, credentials, limits, the sandbox, the pid file.
///
/// Invariants: mechanism only, no policy: nothing here decides when a process starts or ends, and
/// nothing knows of cycles, configurations or channels. Every process is reached through a pidfd,
/// never through a number that may have been reused. A spawned child owns no descriptor that was
/// not given to it by name. Everything is called from a process with a single thread; nothing
/// blocks, except where its comment says so.
/// Diagnostics: errors are `Result`s whose step is the system call that failed. In a child, before
/// its entry runs, there is nobody to return to: it logs and exits (`exit_os_error`).
/// Source: nginx os/unix/ngx_process.c, ngx_process_cycle.c, ngx_setproctitle.c, core/ngx_cycle.c
/// (pid file); man fork(2), pidfd_open(2), signalfd(2), cgroups(7).
export module ringfort.process;

export import :activation;
export import :capabilities;
export import :child;
export import :cpus;
export import :credentials;
export import :daemon;
export import :environment;
export import :inspect;
export import :landlock;
export import :notify;
export import :pid_file;
export import :program;
export import :rlimit;
export import :sandbox;
export import :seccomp;
export import :signals;
export import :spawn;
export import :title;
export import :variable;
