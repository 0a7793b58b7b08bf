export module ringfort.shm:on_map;

import ringfort.base;
import ringfort.std;
import :map;
import :pool;

export namespace ringfort::shm {

/// What a structure `T` inherits that is a map in a pool, with entries of its own kind: made and
/// found again as a map is, under the schema `T::schema`. A view, as `Map`: valid as long as the
/// pool it was made or opened with. Cheap to copy.
template <class T>
class OnMap {
public:
    /// Makes one as structure `number`, for about `options.buckets` entries at a time, opens one,
    /// or whichever it takes. Errors: those of the same functions of `Map`.
    [[nodiscard]] static Result<T> create(const Pool& pool, std::uint32_t number,
                                          MapOptions options = {}) {
        return made(Map::create(pool, number, options, T::schema));
    }
    [[nodiscard]] static Result<T> open(const Pool& pool, std::uint32_t number) {
        return made(Map::open(pool, number, T::schema));
    }
    [[nodiscard]] static Result<T> open_or_create(const Pool& pool, std::uint32_t number,
                                                  MapOptions options = {}) {
        return made(Map::open_or_create(pool, number, options, T::schema));
    }

protected:
    explicit OnMap(const Map& map) noexcept : map_{map} {}

    Map map_;

private:
    [[nodiscard]] static Result<T> made(const Result<Map>& map) {
        if (!map) return map.error();
        return T{*map};
    }
};

}  // namespace ringfort::shm
