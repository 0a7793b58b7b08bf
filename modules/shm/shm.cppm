/// Named shared memory: zones in memfds, and what lives in them.
///
/// Invariants: a zone is position independent, it holds offsets and never pointers, since every
/// process maps it elsewhere. A zone's memfd is sealed against a change of size: otherwise whoever
/// holds it could truncate it and end the others by SIGBUS. Nothing found in a zone is trusted when
/// it is attached. A mapping is never removed while its generation lives.
/// Diagnostics: operating failures and corrupted headers are `Result`s; a slot or column out of
/// range aborts.
/// Source: memfd_create(2), fcntl(2) "File Sealing"; nginx src/os/unix/ngx_shmem.c, the statistics
/// of src/event/ngx_event.c.
export module ringfort.shm;

export import :counters;
export import :mapping;
export import :zone;
