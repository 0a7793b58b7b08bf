export module ringfort.cycle:zones;

import ringfort.base;
import ringfort.config;
import ringfort.shm;
import ringfort.std;

export namespace ringfort::cycle {

/// How a zone is laid out.
enum class Content : std::uint8_t {
    pool,   ///< as a `shm::Pool`, by the cycle
    custom  ///< by whoever requests it
};

/// A zone that the cycle is to have. Several may ask for the same one.
struct ZoneRequest {
    std::string name;
    std::string tag = {};  ///< what the content is for; empty: says another one, or nobody
    Bytes size{0};         ///< 0: says another one, or the configuration
    Content content = Content::pool;
    bool reuse = true;  ///< false: each cycle has a new one, without what the old one holds
    /// Lays out a new zone of custom content; not called for one that is carried over.
    std::function<Result<void>(shm::Zone&)> format = {};
    /// Reports whether custom content is still what `format` has laid out; empty: it always is.
    std::function<bool(shm::Zone&)> sound = {};
    /// Puts into a new pool, one that has grown included, what is to be in it from the beginning;
    /// `before` is the one of the same name and tag that it takes the place of, nullptr if there is
    /// none, or it cannot be read. An error keeps the cycle from being built. May be empty. Of
    /// several requests each has its say, in their order: a later one finds what an earlier one has
    /// put in.
    std::function<Result<void>(const shm::Pool& made, const shm::Pool* before)> prepare = {};
};

/// A zone, held by every cycle that has it.
using SharedZone = std::shared_ptr<shm::Zone>;

/// The tag of a pool that nobody says what it is for.
inline constexpr std::string_view pool_tag = "pool";

/// Joins the zones of the configuration with those that are requested, by their names: each is
/// there once, with its size and tag, and without reuse if one of them wants that. Appends what
/// does not agree, or cannot be made, to `obstacles`; the latter is left out.
/// Source: nginx ngx_shared_memory_add.
[[nodiscard]] std::vector<ZoneRequest> join(const std::vector<config::Zone>& configured,
                                            const std::vector<ZoneRequest>& requests,
                                            std::vector<std::string>& obstacles);

/// Opens a pool of another cycle as this process.
using OpenPool = std::function<Result<shm::Pool>(shm::Zone&)>;

/// Says whether what is in a zone is sound, as far as that can be told by a look.
[[nodiscard]] bool sound(shm::Zone& zone, const ZoneRequest& request);

/// Says whether a zone may go on as the requested one: name, tag and size agree, and it is sound.
[[nodiscard]] bool fits(shm::Zone& zone, const ZoneRequest& request);

}  // namespace ringfort::cycle
