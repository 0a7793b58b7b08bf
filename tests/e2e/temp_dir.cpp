#include "temp_dir.h"

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <ios>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

namespace e2e {

TempDir::TempDir() {
    std::string name = (std::filesystem::temp_directory_path() / "rf-e2e-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error{"mkdtemp " + name};
    path_ = name;
}

TempDir::~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

void write_file(const std::string& path, std::string_view text) {
    const std::string draft = path + ".draft";
    {
        std::ofstream out{draft, std::ios::binary};
        out << text;
        if (!out.flush()) throw std::runtime_error{"write " + draft};
    }
    std::filesystem::rename(draft, path);
}

std::string read_file(const std::string& path) {
    std::ifstream in{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{in}, std::istreambuf_iterator<char>{}};
}

}  // namespace e2e
