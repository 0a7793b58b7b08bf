module;
#include <ringfort/try.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>
module ringfort.master;

import ringfort.base;
import ringfort.channel;
import ringfort.cycle;
import ringfort.process;
import ringfort.shm;

namespace ringfort::master {

std::optional<process::PidFile> Estate::take_files() {
    for (const cycle::Group& group : stock.groups)
        for (const auto& opened : group.listeners) opened->own();
    if (control) control->own();
    if (!pid_file) return {};
    auto file = process::PidFile::adopt(pid_file->path, std::move(pid_file->file));
    return file ? std::optional{*std::move(file)} : std::nullopt;
}

Send through(channel::Channel& channel) {
    return [&channel](const channel::Message& message, channel::Fds fds) {
        return channel.send(message, std::move(fds));
    };
}

Result<void> offer_text(channel::TextUse use, std::string_view text, const Send& send) {
    do {
        const std::string_view part = text.substr(0, limits::max_text_bytes);
        text.remove_prefix(part.size());
        RF_TRY(
            send(channel::Text{.use = use, .last = text.empty(), .part = std::string{part}}, {}));
    } while (!text.empty());
    return {};
}

Result<void> offer(const cycle::Listener& listener, bool control, const Send& send) {
    RF_LET(Fd socket, listener.socket().duplicate());
    using Use = channel::ListenerUse;
    const Use use = control ? Use::control : listener.foreign() ? Use::foreign : Use::service;
    return send(channel::OfferListener{.use = use, .configured = listener.configured()},
                std::move(socket));
}

Result<void> offer(const shm::Zone& zone, const Send& send) {
    RF_LET(Fd memfd, duplicate(zone.fd()));
    return send(channel::AddZone{.name = zone.name(), .tag = zone.tag(), .size = zone.size()},
                std::move(memfd));
}

Result<void> offer(const process::PidFile& file, const Send& send) {
    RF_LET(Fd copy, file.file().duplicate());
    return send(channel::OfferFile{.use = channel::FileUse::pid_file, .path = file.path()},
                std::move(copy));
}

Result<void> offer(const process::Credentials& credentials, const Send& send) {
    auto rest = credentials.groups();
    do {
        channel::User user{.name = credentials.user(),
                           .uid = credentials.uid(),
                           .gid = credentials.gid(),
                           .groups = {}};
        const auto count = static_cast<std::ptrdiff_t>(
            std::min<std::size_t>(rest.size(), limits::max_user_groups));
        user.groups.assign(rest.begin(), rest.begin() + count);
        rest.erase(rest.begin(), rest.begin() + count);
        RF_TRY(send(user, {}));
    } while (!rest.empty());
    return {};
}

Result<void> EstateReader::take(channel::Received received) {
    if (estate_.complete) return Error{"read an estate behind its end", std::errc::protocol_error};
    return std::visit([&](auto& message) { return on(message, received.fds); }, received.message);
}

Estate EstateReader::release() && {
    if (user_)
        estate_.credentials = process::Credentials::of(
            user_->name, user_->uid, user_->gid, {user_->groups.begin(), user_->groups.end()});
    return std::move(estate_);
}

Result<void> EstateReader::on(channel::OfferListener& message, channel::Fds& fds) {
    RF_LET(auto listener, cycle::Listener::adopt(std::move(fds[0]), message.configured));
    if (message.use == channel::ListenerUse::foreign) listener->leave_file();
    if (message.use == channel::ListenerUse::control)
        estate_.control = std::move(listener);
    else
        estate_.stock.add(std::move(listener), false);
    return {};
}

Result<void> EstateReader::on(channel::AddZone& message, channel::Fds& fds) {
    auto zone = shm::Zone::attach(std::move(fds[0]), message.name, message.tag);
    if (!zone && shm::Zone::is_of_content(zone.error())) {
        log::warning("zone {} is not taken over, it is made anew: {}", message.name,
                     zone.error().text());
        return {};
    }
    if (!zone) return zone.error();
    estate_.stock.zones.push_back(std::make_shared<shm::Zone>(*std::move(zone)));
    return {};
}

Result<void> EstateReader::on(channel::OfferFile& message, channel::Fds& fds) {
    Fd file = fds.empty() ? Fd{} : std::move(fds[0]);
    if (message.use == channel::FileUse::log)
        estate_.stock.log = std::move(file);
    else
        estate_.pid_file = OpenFile{std::move(message.path), std::move(file)};
    return {};
}

Result<void> EstateReader::on(channel::Text& message, channel::Fds&) {
    if (message.use == channel::TextUse::configuration) {
        estate_.configuration += message.part;
        return {};
    }
    finding_ += message.part;
    if (!message.last) return {};
    // No more of them than people read, whoever sends them.
    if (estate_.findings.size() < limits::max_findings) estate_.findings.push_back(finding_);
    finding_.clear();
    return {};
}

Result<void> EstateReader::on(channel::User& message, channel::Fds&) {
    if (!user_) {
        user_ = std::move(message);
        return {};
    }
    std::ranges::copy(message.groups, std::back_inserter(user_->groups));
    return {};
}

Result<void> EstateReader::on(channel::Succession& message, channel::Fds&) {
    estate_.last_generation = message.generation;
    estate_.rows_from_top = message.rows_from_top;
    return {};
}

Result<void> EstateReader::on(channel::TakenRow& message, channel::Fds&) {
    estate_.taken_rows.push_back(message.row);
    return {};
}

Result<void> EstateReader::on(channel::FileOwner& message, channel::Fds&) {
    estate_.stock.owners[message.listener] = {.user = message.uid, .group = message.gid};
    return {};
}

Result<void> EstateReader::on(channel::Done& message, channel::Fds&) {
    estate_.complete = true;
    estate_.success = message.success;
    return {};
}

template <class Other>
Result<void> EstateReader::on(Other&, channel::Fds&) {
    return Error{"read an estate: another message", std::errc::protocol_error};
}

}  // namespace ringfort::master
