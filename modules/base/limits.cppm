export module ringfort.base:limits;

import ringfort.std;
import :bytes;
import :clock;

/// Every default and every bound of Ringfort, in one table: name, unit, value. What a configuration
/// may change takes its default here; docs/reference/limits.md says what happens when one is
/// reached.
export namespace ringfort::limits {

/// The master: how many it runs, and how long it waits for them.
inline constexpr std::uint32_t max_workers = 256;
inline constexpr Milliseconds drain_timeout_ms{30'000};
inline constexpr Milliseconds ready_timeout_ms{10'000};
inline constexpr Milliseconds kill_timeout_ms{1'500};  ///< from terminate to SIGKILL
inline constexpr Milliseconds respawn_backoff_min_ms{100};
inline constexpr Milliseconds respawn_backoff_max_ms{30'000};
inline constexpr Milliseconds watchdog_ms{10'000};  ///< without progress; 0: for ever
inline constexpr Milliseconds min_watchdog_ms{200};
inline constexpr std::uint32_t pulses_per_watchdog = 4;  ///< signs of progress a worker gives in it
inline constexpr Milliseconds respawn_healthy_ms{
    10'000};                                         ///< alive this long: back-off starts anew
inline constexpr std::uint32_t respawn_budget = 20;  ///< of a generation, for failures in a row
inline constexpr std::uint32_t max_respawn_budget = 1'000;
inline constexpr Milliseconds shutdown_delay_ms{0};  ///< from the announcement to draining
inline constexpr std::uint32_t max_generations = 4;  ///< living at once, draining ones included

/// Building a cycle in a process of its own, and the upgrade to another binary.
inline constexpr Milliseconds build_timeout_ms{60'000};
inline constexpr Milliseconds upgrade_timeout_ms{60'000};
inline constexpr Milliseconds inherit_timeout_ms{5'000};  ///< to be told by the predecessor
inline constexpr Milliseconds orphan_grace_ms{5'000};     ///< of a worker whose master has died
inline constexpr Milliseconds succession_check_ms{50};    ///< whether a sibling was taken over

/// The control socket: who is connected at a time, what one may ask, how long one may take to ask
/// and to read the answer.
inline constexpr std::uint32_t control_clients = 16;
inline constexpr std::size_t max_control_line_bytes = 256;
inline constexpr Milliseconds control_timeout_ms{5'000};
inline constexpr std::size_t max_findings = 64;  ///< of one reload, told to who asked for it
inline constexpr std::size_t max_unix_path_bytes = 107;  ///< of sockaddr_un, unix(7)

/// The service manager: what it has no room for, and when that is tried again.
inline constexpr std::size_t manager_messages = 1'024;
inline constexpr std::int64_t max_passed_fds = 65'536;
inline constexpr Milliseconds manager_retry_ms{100};

/// Listeners: the kernel's queue, their number, and how often a taken address is tried.
inline constexpr std::uint32_t listen_backlog = 4'096;
inline constexpr std::uint32_t max_listen_backlog = 65'535;
inline constexpr std::uint32_t max_listeners = 4'096;
inline constexpr Bytes min_socket_buffer{4ULL << 10};
inline constexpr Bytes max_socket_buffer{1024ULL << 20};
inline constexpr std::uint32_t bind_attempts = 5;
inline constexpr Milliseconds bind_retry_ms{10};  ///< a dead ring holds its sockets up to 31 ms
inline constexpr Milliseconds orphan_linger_ms{3'000};  ///< a lost SYN-ACK is sent again after 1 s
inline constexpr Milliseconds orphan_check_ms{1'000};

/// A worker: connections at a time, rest after a failed accept, tasks resumed between two waits.
inline constexpr std::uint32_t worker_connections = 10'000;
inline constexpr std::uint32_t max_worker_connections = 10'000'000;
inline constexpr std::uint32_t max_open_files = 1U << 30;  ///< the kernel's highest fs.nr_open
inline constexpr Milliseconds accept_backoff_ms{100};     ///< after EMFILE, ENFILE, ENOBUFS, ENOMEM
inline constexpr Milliseconds linger_timeout_ms{1'000};   ///< for a peer that is being refused
inline constexpr Milliseconds accept_warning_ms{10'000};  ///< between two of refused connections
inline constexpr Milliseconds accept_sweep_ms{20};  ///< between looks for forgotten connections
inline constexpr std::uint32_t resumptions_per_turn = 4'096;
inline constexpr Milliseconds run_time_per_turn_ms{10};
inline constexpr std::uint32_t resumptions_per_reading = 16;      ///< of the clock
inline constexpr std::uint32_t completions_per_resumption = 128;  ///< without suspending
inline constexpr Milliseconds stall_ms{100};           ///< of one service's tasks without a pause
inline constexpr Milliseconds stall_report_ms{1'000};  ///< between two warnings
inline constexpr Milliseconds stall_exact_ms{1'000};   ///< for which each resumption is measured
inline constexpr std::uint32_t last_accepts = 64;  ///< a listener, by a worker that begins to drain
inline constexpr std::uint32_t datagrams_in_service = 1'024;  ///< of a listener, by a worker
inline constexpr std::uint32_t last_datagrams = 1'024;        ///< as last_accepts

/// Coroutine frames: the largest that is kept for reuse, and how much is asked of malloc at once.
inline constexpr std::size_t max_pooled_frame_bytes = 4'096;
inline constexpr std::size_t frame_slab_bytes = 16'384;

/// A worker's ring: its two queues in entries, and the buffers the kernel receives into.
inline constexpr std::uint32_t ring_submissions = 1'024;
inline constexpr std::uint32_t ring_completions = 8'192;
inline constexpr std::uint32_t fetched_ahead = 32;    ///< completions whose requests are prefetched
inline constexpr std::uint32_t receive_buffers = 16;  ///< per worker, at the start
inline constexpr Bytes receive_ahead{128ULL << 10};   ///< per connection, not yet taken
inline constexpr Bytes receive_burst{1024ULL << 10};  ///< per connection, before it is asked again
inline constexpr Bytes starved_receive{16ULL << 10};  ///< of one receive while no buffer is free
inline constexpr std::uint32_t quick_sends = 1'024;   ///< posted in a turn, each to another socket
/// From which size on bytes are received and sent by a system call of their own, in a crowd, and
/// the weight from which a socket is received from so: a receive of that size adds 2 to it, a
/// smaller one takes 1.
inline constexpr Bytes direct_transfer{16ULL << 10};
inline constexpr std::uint8_t direct_after = 8;
/// How many sockets are a crowd if they bring such pieces in a turn, in the mean of so many turns
/// in which one does.
inline constexpr std::uint32_t direct_sockets = 2;
inline constexpr float direct_turns = 64;
inline constexpr std::uint32_t direct_per_reading = 4;  ///< of the clock, with what tasks do
/// Deferred works, as receives are, that a kernel from 6.13 on does at a time unless more
/// completions are waited for: its IO_LOCAL_TW_DEFAULT_MAX (io_uring/io_uring.c).
inline constexpr std::uint32_t deferred_works = 20;
/// From how many completions in a turn on, in the mean of so many turns, the next one waits for
/// more than the first: for this part of the mean, for `batch_most` at most, or so long.
inline constexpr float batch_from = 8;
inline constexpr float batch_part = 0.75F;
inline constexpr float batch_turns = 16;
inline constexpr std::uint32_t batch_most = 32;
inline constexpr std::chrono::microseconds batch_wait_us{20};
inline constexpr std::uint32_t answered_sends = 256;    ///< of a turn, of those that go well
inline constexpr Bytes send_behind{256ULL << 10};       ///< per connection, posted and not sent
inline constexpr Bytes max_request{1ULL << 30};         ///< moved by one request of the ring
inline constexpr std::size_t gather_pieces = 16;        ///< sent by one request
inline constexpr std::uint32_t accept_ahead = 64;       ///< connections, not yet taken
inline constexpr std::uint32_t messages_ahead = 1'024;  ///< datagrams a socket, not yet taken
inline constexpr std::uint32_t message_buffers = 64;    ///< per worker, from the first datagram on
inline constexpr std::uint32_t max_message_buffers = 4'096;
inline constexpr Bytes message_buffer_size{68ULL << 10};  ///< the longest datagram, its sender
inline constexpr Milliseconds futex_recheck_ms{2};        ///< on a kernel without futex waits
inline constexpr Milliseconds buffer_trim_ms{1'000};
inline constexpr std::uint32_t buffers_trimmed = 128;    ///< between two turns
inline constexpr Milliseconds buffer_trim_pause_ms{10};  ///< after so many, before the next
inline constexpr Milliseconds cancel_retry_ms{10};       ///< what the kernel did not find to cancel
inline constexpr Milliseconds hangup_check_ms{100};      ///< without bytes before it is looked for
inline constexpr std::uint32_t hangups_checked = 1'024;  ///< between two turns
inline constexpr Milliseconds hangup_pause_ms{5};        ///< after so many, before the next
inline constexpr Bytes receive_buffer_size{64ULL << 10};
inline constexpr Bytes receive_buffer_offset{512};  ///< of each buffer's first byte in its page
inline constexpr std::uint32_t max_ring_submissions = 32'768;  ///< IORING_MAX_ENTRIES
inline constexpr std::uint32_t max_ring_completions = 65'536;  ///< IORING_MAX_CQ_ENTRIES
inline constexpr std::uint32_t max_receive_buffers = 32'768;   ///< of a buffer ring
inline constexpr Bytes min_receive_buffer_size{256};
inline constexpr Bytes max_receive_buffer_size{16ULL << 20};

/// The soft ring, which does without io_uring: what one request or one turn may do, and how long
/// it goes without looking at what epoll cannot tell.
inline constexpr std::uint32_t soft_ring_receives = 32;  ///< or accepts, of a request in a turn
inline constexpr std::uint32_t soft_ring_bundle = 256;   ///< buffers of one call
inline constexpr std::uint32_t soft_ring_events = 256;   ///< ready descriptors of a turn
inline constexpr std::uint32_t soft_ring_fruitless = 8;  ///< times ready in a row for nothing
inline constexpr Milliseconds soft_ring_nap_ms{1};       ///< between two looks at a futex's word
inline constexpr Milliseconds soft_ring_trust_ms{10};    ///< in a registration kept from before

/// A relay: what makes a direction bulk, which moves by splice(2), and the pipes of a worker.
inline constexpr Bytes relay_bulk_chunk{16ULL << 10};  ///< a receive of less ends a run
inline constexpr Bytes relay_bulk_run{256ULL << 10};   ///< a run of so much is bulk
inline constexpr Bytes relay_small_splice{8ULL << 10};
inline constexpr std::uint32_t relay_small_splices = 4;  ///< in a row: bulk no more
inline constexpr Bytes relay_pipe_size{256ULL << 10};
inline constexpr std::uint32_t relay_pipes = 64;       ///< lent at a time, two descriptors each
inline constexpr std::uint32_t relay_idle_pipes = 16;  ///< kept open for the next
inline constexpr Milliseconds relay_stall_ms{1'000};   ///< between looks at a writer not read from

/// A channel: the largest message, and what is queued or waited for when the socket is full.
inline constexpr std::size_t max_message_bytes = 4'096;
inline constexpr std::size_t max_message_fds = 8;
inline constexpr std::size_t channel_queue_messages = 8'192;
inline constexpr std::uint32_t messages_per_turn = 64;  ///< the master reads of one worker
inline constexpr Milliseconds channel_retry_ms{10};     ///< after ENOBUFS, ENOMEM, ETOOMANYREFS
inline constexpr std::size_t max_service_name_bytes = 63;
inline constexpr std::size_t max_report_text_bytes = 1'024;  ///< of a worker's
inline constexpr std::size_t max_shortcomings = 32;          ///< of a generation's workers, logged
inline constexpr std::size_t max_text_bytes = 3'072;         ///< of a part of a text, or a path
inline constexpr std::size_t max_user_name_bytes = 255;      ///< LOGIN_NAME_MAX, less the NUL
inline constexpr std::size_t max_user_groups = 512;          ///< in one message

/// What services tell their siblings in other workers: its size, and what waits for a slow one.
inline constexpr std::size_t max_peer_message_bytes = 4'000;
inline constexpr std::size_t peer_queue_messages = 256;  ///< behind what the socket holds
inline constexpr std::uint32_t peer_messages_per_turn = 64;

/// Shared memory: the size of a zone, its names, and the columns of a table of counters.
inline constexpr std::uint32_t max_counter_rows = max_workers * max_generations;
inline constexpr std::uint32_t max_zones = 256;
inline constexpr Bytes min_pool_zone_size{64ULL << 10};
inline constexpr Bytes min_zone_size{4ULL << 10};
inline constexpr Bytes max_zone_size{64ULL << 30};
inline constexpr Bytes max_grown_content{2ULL << 30};  ///< copied under a pool's lock
inline constexpr std::size_t max_zone_name_bytes = 63;
inline constexpr std::size_t max_zone_tag_bytes = 63;
inline constexpr std::uint32_t max_counter_columns = 1'024;
inline constexpr std::size_t journal_entries = 512;   ///< words changed by one transaction
inline constexpr std::size_t transaction_frees = 16;  ///< blocks given back by one transaction
inline constexpr std::size_t kept_pages = 4;          ///< empty, for blocks of their sizes
inline constexpr Milliseconds heal_pause_ms{
    1};  ///< between two parts of giving back what dead held
inline constexpr Milliseconds pool_check_ms{1'000};  ///< between two looks whether one is corrupted
inline constexpr std::uint32_t heal_steps = 16;      ///< transactions of a part
inline constexpr std::uint32_t pool_roots = 16;      ///< structures of a pool
inline constexpr std::uint32_t runs_looked_at = 8;   ///< that may be too short
inline constexpr std::uint32_t max_map_buckets = 1U << 28;
inline constexpr std::size_t max_map_entry = 1U << 20;  ///< bytes of key and value
inline constexpr std::uint32_t map_sweep_buckets = 64;  ///< looked at by one transaction
inline constexpr std::uint32_t map_sweep_entries = 4;   ///< removed by one transaction
inline constexpr std::uint32_t rate_sweeps = 16;        ///< transactions, for room for a bucket
inline constexpr std::size_t max_limited_key = 256;     ///< bytes, of a connection limiter
inline constexpr std::uint32_t seq_attempts = 64;       ///< without a lock
inline constexpr std::uint32_t lock_spins = 100;        ///< before a process sleeps
inline constexpr Milliseconds lock_wait_ms{2'000};      ///< for a lock, unless told otherwise
inline constexpr Milliseconds lock_check_ms{20};        ///< between looks whether its owner lives
inline constexpr Milliseconds queue_check_ms{1'000};    ///< asleep for a queue, at a time
inline constexpr std::chrono::microseconds lock_patience_us{300};  ///< until newcomers stand back

/// Text in and out: the largest configuration file, the longest line of the log.
inline constexpr Bytes max_config_size{16ULL << 20};
inline constexpr std::size_t max_config_key_parts = 16;        ///< of a dotted key
inline constexpr std::size_t max_config_items = 4'096;         ///< of an array
inline constexpr std::size_t max_config_problems = 100;        ///< told of one file
inline constexpr std::size_t max_config_syntax_errors = 20;    ///< looked for behind the first
inline constexpr Milliseconds max_duration_ms{2'592'000'000};  ///< 30 days; fits 32 bits
inline constexpr std::size_t max_log_line_bytes = 8'192;

}  // namespace ringfort::limits
