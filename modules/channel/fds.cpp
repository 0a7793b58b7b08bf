module;
#include <cstddef>
#include <utility>
module ringfort.channel;

namespace ringfort::channel {

Fds::Fds(Fds&& other) noexcept
    : fds_{std::move(other.fds_)}, size_{std::exchange(other.size_, 0)} {}

Fds& Fds::operator=(Fds&& other) noexcept {
    if (this != &other) {
        fds_ = std::move(other.fds_);
        size_ = std::exchange(other.size_, 0);
    }
    return *this;
}

void Fds::push(Fd fd) noexcept {
    if (!fd) return;
    ensure(size_ < fds_.size(), "a message carries at most limits::max_message_fds descriptors");
    fds_[size_++] = std::move(fd);
}

Fd& Fds::operator[](std::size_t index) noexcept {
    ensure(index < size_, "index past the last descriptor of a message");
    return fds_[index];
}

const Fd& Fds::operator[](std::size_t index) const noexcept {
    ensure(index < size_, "index past the last descriptor of a message");
    return fds_[index];
}

}  // namespace ringfort::channel
