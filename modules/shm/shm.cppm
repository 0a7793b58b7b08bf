/// Named shared memory: zones in memfds, and what lives in them.
///
/// Invariants: a zone is position independent, it holds offsets and never pointers, since every
/// process maps it elsewhere. A zone's memfd is sealed against a change of size: otherwise whoever
/// holds it could truncate it and end the others by SIGBUS. Nothing found in a zone is trusted when
/// it is attached, and no offset in it when it is used. A mapping is never removed while its
/// generation lives. A change of a pool happens as a whole or not at all, at whatever instruction
/// its process is killed (docs/decisions/0026). Diagnostics: operating failures and corrupted
/// contents are `Result`s; a slot or column out of range aborts. Source: memfd_create(2), fcntl(2)
/// "File Sealing", futex(2); nginx src/os/unix/ngx_shmem.c, src/core/ngx_slab.c,
/// src/core/ngx_shmtx.c, the statistics of src/event/ngx_event.c.
export module ringfort.shm;

export import :cache;
export import :connection_limiter;
export import :counters;
export import :glance;
export import :healer;
export import :histogram;
export import :journal;
export import :key;
export import :layout;
export import :lock;
export import :map;
export import :mapping;
export import :on_map;
export import :owners;
export import :pool;
export import :queue;
export import :rate_limiter;
export import :seq_value;
export import :shared_lock;
export import :slab;
export import :word;
export import :zone;
