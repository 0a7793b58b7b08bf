module;
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>
module ringfort.process;

namespace ringfort::process {
namespace {

std::string find_in_path(const std::string& name) {
    if (name.empty()) return {};
    const char* const variable = ::getenv("PATH");
    std::string_view rest = variable == nullptr ? "" : variable;
    while (!rest.empty()) {
        const std::string_view folder = rest.substr(0, rest.find(':'));
        rest.remove_prefix(std::min(rest.size(), folder.size() + 1));
        // An empty part means the working directory, as for the shell.
        const std::string path = (folder.empty() ? "." : std::string{folder}) + "/" + name;
        if (::access(path.c_str(), X_OK) == 0) return path;
    }
    return {};
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
    std::vector<char*> pointers;
    for (std::string& text : texts) pointers.push_back(text.data());
    pointers.push_back(nullptr);
    return pointers;
}

std::string_view name_of(std::string_view variable) {
    return variable.substr(0, variable.find('='));
}

}  // namespace

Program Program::of(int argc, char* const* argv) {
    Program program;
    program.arguments_.assign(argv, argv + argc);
    const std::string name = argc > 0 ? argv[0] : "";
    std::string path = name.find('/') == name.npos ? find_in_path(name) : name;
    std::error_code error;
    if (path.empty()) path = std::filesystem::read_symlink("/proc/self/exe", error);
    program.path_ = std::filesystem::absolute(path, error);
    program.directory_ = std::filesystem::current_path(error);
    return program;
}

Error Program::execute(const std::vector<std::string>& additions) const {
    std::vector<std::string> arguments = arguments_;
    std::vector<std::string> variables = additions;
    for (char* const* variable = environ; variable != nullptr && *variable != nullptr; ++variable) {
        const std::string_view name = name_of(*variable);
        const bool replaced = std::ranges::any_of(
            additions, [&](const std::string& addition) { return name_of(addition) == name; });
        if (!replaced) variables.emplace_back(*variable);
    }
    if (!directory_.empty() && ::chdir(directory_.c_str()) != 0)
        log::warning("{} is no more: relative paths lead elsewhere", directory_);
    ::execve(path_.c_str(), pointers_to(arguments).data(), pointers_to(variables).data());
    return Error::last("execve");
}

}  // namespace ringfort::process
