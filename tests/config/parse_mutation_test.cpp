// Thousands of damaged configurations, the same ones in every run. A child reads each batch, so
// that a crash or an endless loop is attributed to it.
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>

#include "fixture.h"

namespace {

constexpr unsigned batches = 20;
constexpr unsigned texts_a_batch = 150;
constexpr unsigned batch_seconds = 30;

constexpr std::array<std::string_view, 4> originals{
    "[master]\nworkers = \"auto\"\ndrain_timeout_ms = 30_000 # time\n\n[[listener]]\n"
    "address = \"127.0.0.1:7000\"\nservice = \"echo\"\n\n[[zone]]\nname = 'limits'\n"
    "size = \"4MiB\"\n\n[service.echo]\nidle_timeout_ms = 60_000\nshout = true\n",
    "listener = [{address = \"unix:/a\", service = \"proxy\", mode = 0o666}]\n"
    "service.proxy.upstreams = [\n  \"127.0.0.1:1\", # first\n  'unix:@b',\n]\n"
    "[service.proxy.tls]\ncertificate = \"\"\"a\\\n  b\"\"\"\n[[service.proxy.route]]\n"
    "prefix = '''\n/'''\nmethods = [\"GET\"]\n",
    "a = 1979-05-27T07:32:00.5-08:00\nb = 1e9\nc = -0x1F\nd = [[1.5, inf], [nan]]\n"
    "e = {f = {g = []}}\n\"\xc3\xbc \\u00fc\" = 07:32:00\n",
    "[log]\r\nlevel = \"info\"\r\n[ a . 'b' . c ]\r\n[[listener]]\r\naddress = \"[::1]:0\"\r\n"
    "service = \"echo\"\r\n"};

constexpr std::array<std::string_view, 40> pieces{"[",
                                                  "]",
                                                  "[[",
                                                  "]]",
                                                  "{",
                                                  "}",
                                                  "\"",
                                                  "'",
                                                  "\"\"\"",
                                                  "'''",
                                                  "=",
                                                  ",",
                                                  ".",
                                                  "#",
                                                  "\n",
                                                  "\r\n",
                                                  "\\",
                                                  "\\\n",
                                                  "\\u",
                                                  "_",
                                                  "-",
                                                  "+",
                                                  "0x",
                                                  "1e",
                                                  "true",
                                                  "nan",
                                                  "inf",
                                                  "&",
                                                  "\xc3\xbc",
                                                  "\xff",
                                                  "\x01",
                                                  "\x7f",
                                                  "\xe2\x80\xa8",
                                                  "\xf0\x9f\x98\x80",
                                                  "[&",
                                                  "x = ",
                                                  "1979-05-27 ",
                                                  "07:32",
                                                  "\xef\xbb\xbf",
                                                  "[service.echo]\n"};

/// Raw engine output and "%" only: distributions differ between libraries.
class Damage {
public:
    explicit Damage(unsigned seed) : random_{seed} {}

    std::string next() {
        std::string text{originals[below(originals.size())]};
        for (std::size_t count = 1 + below(6); count > 0; --count) hit(text);
        return text;
    }

private:
    std::size_t below(std::size_t bound) { return random_() % bound; }

    void hit(std::string& text) {
        const std::size_t at = below(text.size() + 1);
        const std::size_t length = below(12);
        switch (below(5)) {
            case 0:
                text.insert(at, pieces[below(pieces.size())]);
                break;
            case 1:
                text.erase(at, length);
                break;
            case 2:
                text.insert(below(text.size() + 1), text.substr(at, length * 4));
                break;
            case 3:
                if (at < text.size()) text[at] = static_cast<char>(below(256));
                break;
            default:
                text.replace(at, length, pieces[below(pieces.size())]);
        }
    }

    std::mt19937 random_;
};

/// Returns whether a text is refused with words, or taken and given back as it is.
bool holds(const std::string& text) {
    const auto outcome = fixture::read(text);
    if (!outcome.good) return !outcome.headlines.empty() && !outcome.text.empty();
    return fixture::read(outcome.text).text == outcome.text;
}

[[noreturn]] void read_batch(unsigned seed) {
    ::alarm(batch_seconds);
    Damage damage{seed};
    for (unsigned i = 0; i < texts_a_batch; ++i)
        if (!holds(damage.next())) ::_exit(1);
    ::_exit(0);
}

}  // namespace

TEST_CASE("no damage to a configuration crashes, hangs or slips through the reader") {
    for (unsigned seed = 1; seed <= batches; ++seed) {
        const pid_t child = ::fork();
        REQUIRE(child >= 0);
        if (child == 0) read_batch(seed);
        int status = 0;
        REQUIRE(::waitpid(child, &status, 0) == child);
        INFO("seed " << seed << ", wait status " << status);
        CHECK(WIFEXITED(status));
        CHECK(WEXITSTATUS(status) == 0);
    }
}

TEST_CASE("a configuration cut off at any byte is refused or taken") {
    for (const std::string_view original : originals)
        for (std::size_t size = 0; size < original.size(); ++size)
            CHECK(holds(std::string{original.substr(0, size)}));
}
