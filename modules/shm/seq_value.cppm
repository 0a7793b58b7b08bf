export module ringfort.shm:seq_value;

import ringfort.base;
import ringfort.std;
import :journal;
import :pool;
import :word;

export namespace ringfort::shm {

/// `SeqValue` for a number of words that is known at run time.
class SeqWords {
public:
    /// See the functions of the same name in `SeqValue`.
    [[nodiscard]] static Result<SeqWords> create(const Pool& pool, std::uint32_t number,
                                                 std::span<const Word> initial);
    [[nodiscard]] static Result<SeqWords> open(const Pool& pool, std::uint32_t number,
                                               std::size_t words);
    [[nodiscard]] static Result<SeqWords> open_or_create(const Pool& pool, std::uint32_t number,
                                                         std::span<const Word> initial);
    [[nodiscard]] Result<void> store(std::span<const Word> value) const;
    [[nodiscard]] Result<Word> load(std::span<Word> value) const noexcept;
    [[nodiscard]] Word version() const noexcept;

private:
    SeqWords(const Pool& pool, Offset at, std::size_t words) noexcept
        : pool_{pool}, at_{at}, words_{words} {}

    [[nodiscard]] static Result<SeqWords> obtain(const Pool& pool, std::uint32_t number,
                                                 std::span<const Word> initial, std::size_t words,
                                                 Obtain how);

    [[nodiscard]] Word& word(std::size_t number) const noexcept;
    [[nodiscard]] Word& copy_word(Word version, std::size_t number) const noexcept {
        return word(first_copy + (version & 1) * words_ + number);
    }
    void read(Word version, std::span<Word> value) const noexcept;

    static constexpr std::size_t first_copy = 8;  // a cache line behind the version

    Pool pool_;
    Offset at_;
    std::size_t words_;
};

/// A value in a pool that is read far more often than it is changed: readers take no lock, wait for
/// nobody and write nothing, and see one whole value or another. There are two copies, and a
/// version that says which one holds: a writer writes the other one, then the version, which is the
/// one store at which the value changes. So a writer that is killed leaves the value as it was,
/// without a journal.
///
/// A view: valid as long as the pool it was made or opened with. Cheap to copy.
template <Storable T>
class SeqValue {
public:
    /// Makes a value as structure `number`. Errors: EEXIST if there is one already; EINVAL for a
    /// number not below `limits::pool_roots`; ENOMEM; those of `Pool::begin`.
    [[nodiscard]] static Result<SeqValue> create(const Pool& pool, std::uint32_t number,
                                                 const T& initial) {
        Result<SeqWords> words = SeqWords::create(pool, number, words_of(initial));
        if (!words) return words.error();
        return SeqValue{*words};
    }
    /// Opens the value that is structure `number`. Errors: ENOENT if there is none; EPROTO if it is
    /// something else or of another size; EBADMSG if it is corrupted; those of `Pool::begin`.
    [[nodiscard]] static Result<SeqValue> open(const Pool& pool, std::uint32_t number) {
        Result<SeqWords> words = SeqWords::open(pool, number, count);
        if (!words) return words.error();
        return SeqValue{*words};
    }

    /// Opens the value that is structure `number`, or makes it if there is none, as
    /// `Map::open_or_create`. Errors: those of `create` but EEXIST; EPROTO; EBADMSG.
    [[nodiscard]] static Result<SeqValue> open_or_create(const Pool& pool, std::uint32_t number,
                                                         const T& initial) {
        Result<SeqWords> words = SeqWords::open_or_create(pool, number, words_of(initial));
        if (!words) return words.error();
        return SeqValue{*words};
    }

    /// Changes the value. Writers wait for each other. Errors: those of `Pool::begin`.
    [[nodiscard]] Result<void> store(const T& value) const { return words_.store(words_of(value)); }
    /// Reads the value. Waits for writers only after `limits::seq_attempts` of them have come
    /// between. Errors: those of `Pool::begin`, then: otherwise it reads on in a quarantined pool.
    [[nodiscard]] Result<T> load() const noexcept {
        std::array<Word, count> words;
        if (Result<Word> done = words_.load(words); !done) return done.error();
        std::array<std::byte, sizeof(T)> bytes;
        std::memcpy(bytes.data(), words.data(), sizeof(T));
        return std::bit_cast<T>(bytes);
    }
    /// Returns how often the value has been changed: the same means that it is the same.
    [[nodiscard]] Word version() const noexcept { return words_.version(); }

private:
    static constexpr std::size_t count = (sizeof(T) + sizeof(Word) - 1) / sizeof(Word);

    explicit SeqValue(const SeqWords& words) noexcept : words_{words} {}
    static std::array<Word, count> words_of(const T& value) noexcept {
        std::array<Word, count> words{};
        std::memcpy(words.data(), &value, sizeof(T));
        return words;
    }

    SeqWords words_;
};

}  // namespace ringfort::shm
