#include "kernel_sockets.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iomanip>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "endpoint.h"
#include "files.h"
#include "processes.h"

namespace e2e {
namespace {

constexpr unsigned listening = 0x0a;  // TCP_LISTEN

struct SocketRow {
    std::string local;
    unsigned local_port = 0;
    unsigned remote_port = 0;
    unsigned state = 0;
    std::uint64_t inode = 0;
};

unsigned port_in(const std::string& address) {
    return static_cast<unsigned>(std::stoul(address.substr(address.rfind(':') + 1), nullptr, 16));
}

std::vector<SocketRow> rows_of(const char* table) {
    std::vector<SocketRow> result;
    std::istringstream text{read_file(table)};
    std::string line;
    std::getline(text, line);  // the heading
    while (std::getline(text, line)) {
        std::istringstream fields{line};
        std::string slot, local, remote, state, skipped;
        SocketRow row;
        fields >> slot >> local >> remote >> state;
        for (int i = 0; i < 5; ++i) fields >> skipped;
        if (!(fields >> row.inode)) continue;
        row.local = local;
        row.local_port = port_in(local);
        row.remote_port = port_in(remote);
        row.state = static_cast<unsigned>(std::stoul(state, nullptr, 16));
        result.push_back(row);
    }
    return result;
}

/// Tells whether the row is bound to this address and port, or to every address and this port. Two
/// addresses may well have been given the same port.
bool is_bound_to(const SocketRow& row, const Endpoint& endpoint) {
    if (row.local_port != endpoint.port()) return false;
    std::array<std::uint32_t, 4> words{};
    std::size_t count = 1;
    if (endpoint.family() == AF_INET6) {
        const auto* const address = reinterpret_cast<const sockaddr_in6*>(endpoint.data());
        std::memcpy(words.data(), &address->sin6_addr, sizeof words);
        count = words.size();
    } else {
        words[0] = reinterpret_cast<const sockaddr_in*>(endpoint.data())->sin_addr.s_addr;
    }
    std::ostringstream text;
    text << std::hex << std::uppercase << std::setfill('0');
    for (std::size_t i = 0; i < count; ++i) text << std::setw(8) << words[i];
    const std::string address = row.local.substr(0, row.local.rfind(':'));
    return address == text.str() || address.find_first_not_of('0') == std::string::npos;
}

std::vector<SocketRow> tcp_rows(int family) {
    return rows_of(family == AF_INET6 ? "/proc/net/tcp6" : "/proc/net/tcp");
}

std::set<std::uint64_t> unix_listeners(const std::string& path) {
    std::set<std::uint64_t> result;
    std::istringstream text{read_file("/proc/net/unix")};
    for (std::string line; std::getline(text, line);) {
        std::istringstream fields{line};
        std::string address, references, protocol, flags, type, state, inode, name;
        fields >> address >> references >> protocol >> flags >> type >> state >> inode >> name;
        constexpr const char* accepts = "00010000";  // __SO_ACCEPTCON
        if (name == path && flags == accepts) result.insert(std::stoull(inode));
    }
    return result;
}

}  // namespace

std::set<std::uint64_t> listeners_at(const Endpoint& endpoint) {
    if (endpoint.family() == AF_UNIX) return unix_listeners(endpoint.unix_path());
    std::set<std::uint64_t> result;
    for (const SocketRow& row : tcp_rows(endpoint.family()))
        if (row.state == listening && is_bound_to(row, endpoint)) result.insert(row.inode);
    return result;
}

std::set<std::uint64_t> datagram_sockets_at(const Endpoint& endpoint) {
    std::set<std::uint64_t> result;
    for (const SocketRow& row :
         rows_of(endpoint.family() == AF_INET6 ? "/proc/net/udp6" : "/proc/net/udp"))
        if (is_bound_to(row, endpoint)) result.insert(row.inode);
    return result;
}

std::optional<pid_t> holder_of_peer(int client_fd, const std::vector<pid_t>& pids) {
    const Endpoint client = Endpoint::of_socket(client_fd);
    const Endpoint server = Endpoint::of_peer(client_fd);
    for (const SocketRow& row : tcp_rows(client.family())) {
        if (row.local_port != server.port() || row.remote_port != client.port()) continue;
        for (const pid_t pid : pids)
            if (socket_inodes(pid).contains(row.inode)) return pid;
    }
    return {};
}

}  // namespace e2e
