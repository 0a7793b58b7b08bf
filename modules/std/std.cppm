/// The standard library's names that our interfaces speak, read from its headers once.
///
/// An interface that includes those headers itself carries its own copy of them, and whoever
/// imports a hundred interfaces merges a hundred copies: half the time of a build (decision 32).
/// Invariants: declares nothing of its own; a name exported here is the very entity that the header
/// declares, so a unit that includes the header agrees with one that imports this. A name that is
/// missing is added when an interface needs it; implementation units and tests include headers.
/// Some names are the compiler's to find: coroutine_traits, the orderings, tuple_size, operator
/// new. Diagnostics: none.
module;
#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <compare>
#include <concepts>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <exception>
#include <functional>
#include <initializer_list>
#include <limits>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <random>
#include <set>
#include <source_location>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <variant>
#include <vector>
export module ringfort.std;

export {
    using ::operator new;
    using ::operator delete;
}

export namespace std {

// <algorithm>
using std::clamp, std::max, std::min;

// <array>, <span>, <vector>, <deque>, <map>, <set>, <string>, <string_view>
using std::array, std::as_bytes, std::as_writable_bytes, std::deque, std::map, std::set, std::span,
    std::string, std::string_view, std::vector;

// <atomic>
using std::atomic, std::atomic_ref, std::atomic_signal_fence, std::atomic_thread_fence,
    std::memory_order_acquire, std::memory_order_relaxed, std::memory_order_release,
    std::memory_order_seq_cst;

// <bit>
using std::bit_cast, std::bit_width, std::endian, std::rotl;

// <compare>
using std::partial_ordering, std::strong_ordering, std::weak_ordering;

// <concepts>
using std::constructible_from, std::convertible_to, std::default_initializable, std::derived_from,
    std::integral, std::same_as, std::unsigned_integral;

// <coroutine>
using std::coroutine_handle, std::coroutine_traits, std::noop_coroutine, std::suspend_always;

// <cstddef>, <cstdint>, <cstdlib>, <cstring>
using std::byte, std::free, std::int32_t, std::int64_t, std::malloc, std::memcpy, std::size_t,
    std::uint16_t, std::uint32_t, std::uint64_t, std::uint8_t, std::uintptr_t;

// <exception>, <new>, <typeinfo>
using std::bad_alloc, std::current_exception, std::exception, std::exception_ptr,
    std::make_exception_ptr, std::nothrow, std::rethrow_exception, std::type_info;

// <functional>
using std::function, std::hash, std::less;

// <initializer_list>, <limits>, <random>, <source_location>
using std::initializer_list, std::mt19937_64, std::numeric_limits, std::source_location;

// <memory>
using std::construct_at, std::destroy_at, std::make_shared, std::make_unique, std::shared_ptr,
    std::unique_ptr;

// <optional>, <tuple>, <utility>, <variant>
using std::declval, std::exchange, std::forward, std::get, std::get_if, std::in_place_index,
    std::in_range, std::index_sequence, std::index_sequence_for, std::monostate, std::move,
    std::nullopt, std::optional, std::pair, std::swap, std::tuple, std::tuple_element,
    std::tuple_size, std::variant;

// <system_error>
using std::errc, std::error_code, std::generic_category, std::make_error_code;

// <type_traits>
using std::conditional_t, std::has_unique_object_representations_v, std::is_enum_v,
    std::is_member_pointer_v, std::is_nothrow_move_constructible_v, std::is_null_pointer_v,
    std::is_pointer_v, std::is_signed_v, std::is_standard_layout_v, std::is_trivially_copyable_v,
    std::is_void_v, std::remove_cvref_t, std::type_identity_t;

// Found by argument-dependent lookup.
using std::operator+, std::operator-, std::operator==, std::operator!=, std::operator<,
    std::operator>, std::operator<=, std::operator>=, std::operator<=>, std::operator<<,
    std::operator>>, std::operator&, std::operator|, std::operator^, std::operator~,
    std::operator&=, std::operator|=, std::operator^=;

}  // namespace std

export namespace std::chrono {
using std::chrono::duration, std::chrono::time_point, std::chrono::steady_clock,
    std::chrono::system_clock, std::chrono::hours, std::chrono::seconds, std::chrono::milliseconds,
    std::chrono::microseconds, std::chrono::nanoseconds;
using std::chrono::operator+, std::chrono::operator-, std::chrono::operator*,
    std::chrono::operator/, std::chrono::operator%, std::chrono::operator==,
    std::chrono::operator<=>, std::chrono::operator<, std::chrono::operator>,
    std::chrono::operator<=, std::chrono::operator>=;
}  // namespace std::chrono

#ifdef __GLIBCXX__
// The iterators of vector, span and string are classes of this namespace: their operators.
export namespace __gnu_cxx {
using __gnu_cxx::operator==, __gnu_cxx::operator<=>, __gnu_cxx::operator+, __gnu_cxx::operator-;
}  // namespace __gnu_cxx
#endif
