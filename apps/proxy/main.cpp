#include <unistd.h>

#include <string>

import echo;
import proxy;
import ringfort;

namespace {

/// A proxy in front of an echo service, on a port that the kernel picks and an abstract socket of
/// this process's own, so that it starts on every machine, any number of times.
std::string demo() {
    const std::string upstream = "unix:@ringfort-demo-" + std::to_string(::getpid());
    return R"(
[master]
workers = 2

[[listener]]
address = "127.0.0.1:0"
service = "proxy"

[[listener]]
address = ")" +
           upstream + R"("
service = "echo"

[service.proxy]
upstreams = [")" +
           upstream + R"("]
)";
}

}  // namespace

int main(int argc, char** argv) {
    return ringfort::App{"proxy", "Relays TCP and unix connections to upstreams."}
        .service<Proxy>()
        .service<Echo>()
        .built_in({.toml = demo(),
                   .hint = "A proxy in front of an echo service. Ctrl-C ends it.\n"
                           "Try: printf 'hi\\n' | nc -q1 {host} {port}"})
        .run(argc, argv);
}
