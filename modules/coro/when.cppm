export module ringfort.coro:when;

import ringfort.base;
import ringfort.std;
import :context;
import :scope;
import :task;

namespace ringfort::coro {

/// A value, or something in place of void.
template <class T>
using Filled = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

/// Tasks that run side by side for one that waits for them all.
class Group {
public:
    explicit Group(const Context& context) noexcept : scope_{context} {}

    /// Starts a task, or fails as if it had thrown std::bad_alloc.
    void start(Task<void> task) noexcept {
        if (!scope_.try_spawn(std::move(task))) fail(std::make_exception_ptr(std::bad_alloc{}));
    }
    /// Keeps the first exception, and cancels the others.
    void fail(std::exception_ptr exception) noexcept {
        if (!exception_) exception_ = std::move(exception);
        scope_.cancel();
    }
    void cancel() noexcept { scope_.cancel(); }
    [[nodiscard]] auto join() noexcept { return scope_.join(); }
    void rethrow() const {
        if (exception_) std::rethrow_exception(exception_);
    }

private:
    Scope scope_;
    std::exception_ptr exception_;
};

/// Runs a task and stores its value.
template <class T>
Task<void> store(Task<T> task, std::optional<Filled<T>>& out, Group& group) {
    try {
        if constexpr (std::is_void_v<T>) {
            co_await std::move(task);
            out.emplace();
        } else {
            out.emplace(co_await std::move(task));
        }
    } catch (...) {
        group.fail(std::current_exception());
    }
}

/// What the first of several tasks to end has left.
template <class V>
struct Race {
    std::optional<V> winner;
    bool over = false;
};

/// Runs a task of a race; the first to end cancels the others. `make` turns its value into the
/// winner's.
template <class T, class V, class Make>
Task<void> compete(Task<T> task, Race<V>& race, Group& group, Make make) {
    try {
        if constexpr (std::is_void_v<T>) {
            co_await std::move(task);
            if (!race.over) make(race.winner, std::monostate{});
        } else {
            T value = co_await std::move(task);
            if (!race.over) make(race.winner, std::move(value));
        }
        race.over = true;
        group.cancel();
    } catch (...) {
        if (!std::exchange(race.over, true)) group.fail(std::current_exception());
    }
}

template <std::size_t... index, class... T>
Task<std::tuple<Filled<T>...>> all_of(std::index_sequence<index...>, Task<T>... tasks) {
    std::tuple<std::optional<Filled<T>>...> values;
    Group group{co_await current_context()};
    (group.start(store<T>(std::move(tasks), std::get<index>(values), group)), ...);
    co_await group.join();
    group.rethrow();
    co_return std::tuple<Filled<T>...>{*std::move(std::get<index>(values))...};
}

template <std::size_t... index, class... T>
Task<std::variant<Filled<T>...>> any_of(std::index_sequence<index...>, Task<T>... tasks) {
    using Value = std::variant<Filled<T>...>;
    Race<Value> race;
    Group group{co_await current_context()};
    (group.start(compete<T>(std::move(tasks), race, group,
                            [](std::optional<Value>& out, auto&& value) {
                                out.emplace(std::in_place_index<index>, std::move(value));
                            })),
     ...);
    co_await group.join();
    group.rethrow();
    co_return *std::move(race.winner);
}

}  // namespace ringfort::coro

export namespace ringfort::coro {

/// Runs tasks side by side and awaits them all; yields their values in order, std::monostate for
/// void. A Result that holds an error is a value like any other and stops nobody. An exception
/// cancels the others, is passed on when they have ended, and is the only one that is. Cancellable:
/// the tasks are cancelled and awaited.
template <class... T>
    requires(sizeof...(T) > 0)
[[nodiscard]] [[clang::coro_wrapper]] Task<std::tuple<Filled<T>...>> when_all(Task<T>... tasks) {
    return all_of(std::index_sequence_for<T...>{}, std::move(tasks)...);
}

/// As above, for any number of tasks of one type.
template <class T>
[[nodiscard]] Task<std::vector<Filled<T>>> when_all(std::vector<Task<T>> tasks) {
    std::vector<std::optional<Filled<T>>> values(tasks.size());
    std::vector<Filled<T>> out;
    out.reserve(tasks.size());
    Group group{co_await current_context()};
    for (std::size_t i = 0; i < tasks.size(); ++i)
        group.start(store<T>(std::move(tasks[i]), values[i], group));
    co_await group.join();
    group.rethrow();
    for (auto& value : values) out.push_back(*std::move(value));
    co_return out;
}

/// Runs tasks side by side until one ends; the others are cancelled and awaited, and what they
/// yield or throw is dropped. Yields the first one's value, std::monostate for void, as the
/// alternative whose index is the task's. The first to end counts whether it succeeded or not: a
/// Result that holds an error wins like any other, an exception is passed on. Cancellable.
template <class... T>
    requires(sizeof...(T) > 0)
[[nodiscard]] [[clang::coro_wrapper]] Task<std::variant<Filled<T>...>> when_any(Task<T>... tasks) {
    return any_of(std::index_sequence_for<T...>{}, std::move(tasks)...);
}

/// Which of several tasks ended first, and with what.
template <class T>
struct Winner {
    std::size_t index;
    T value;
};

/// As above, for any number of tasks of one type; none at all aborts.
template <class T>
[[nodiscard]] Task<Winner<Filled<T>>> when_any(std::vector<Task<T>> tasks) {
    ensure(!tasks.empty(), "the first of no tasks was asked for");
    using Value = Winner<Filled<T>>;
    Race<Value> race;
    Group group{co_await current_context()};
    for (std::size_t i = 0; i < tasks.size(); ++i)
        group.start(compete<T>(std::move(tasks[i]), race, group,
                               [i](std::optional<Value>& out, auto&& value) {
                                   out.emplace(Value{i, std::move(value)});
                               }));
    co_await group.join();
    group.rethrow();
    co_return *std::move(race.winner);
}

}  // namespace ringfort::coro
