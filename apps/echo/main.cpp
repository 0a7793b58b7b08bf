import echo;
import ringfort;

int main(int argc, char** argv) {
    return ringfort::App{"echo", "Sends back what it receives."}
        .service<Echo>()
        .built_in({.toml = R"(
[[listener]]
address = "127.0.0.1:7000"
service = "echo"
)",
                   .hint = "Try: printf 'hi\\n' | nc -q1 {host} {port}"})
        .run(argc, argv);
}
