// Building the next cycle, and rehearsing that, in processes beside the master's.
module;
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <ringfort/try.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>
module ringfort.master;

import ringfort.base;
import ringfort.channel;
import ringfort.config;
import ringfort.cycle;
import ringfort.process;
import ringfort.shm;

namespace ringfort::master {
namespace {

/// Returns the sockets that others may be opened beside, which sets an option of theirs.
std::vector<RawFd> listening_fds(const cycle::Cycle* cycle) {
    std::vector<RawFd> fds;
    if (cycle != nullptr)
        for (const cycle::Binding& binding : cycle->bindings())
            fds.push_back(binding.first().socket().get());
    return fds;
}

/// Returns the sockets that the new cycle has and the old one has not.
std::vector<std::shared_ptr<cycle::Listener>> new_listeners(const cycle::Cycle& cycle,
                                                            const cycle::Cycle* old) {
    std::set<std::shared_ptr<cycle::Listener>> known;
    if (old != nullptr)
        for (const cycle::Binding& binding : old->bindings())
            known.insert(binding.listeners.begin(), binding.listeners.end());
    std::vector<std::shared_ptr<cycle::Listener>> found;
    for (const cycle::Binding& binding : cycle.bindings())
        std::ranges::copy_if(binding.listeners, std::back_inserter(found),
                             [&](const auto& one) { return !known.contains(one); });
    return found;
}

/// Offers what the new cycle has and the old one has not, but for listeners.
Result<void> offer_new(const cycle::Cycle& cycle, const cycle::Cycle* old, const Send& send) {
    for (const cycle::SharedZone& zone : cycle.zones())
        if (old == nullptr || std::ranges::find(old->zones(), zone) == old->zones().end())
            RF_TRY(offer(*zone, send));
    const auto& bindings = cycle.bindings();
    for (std::size_t i = 0; i < bindings.size(); ++i)
        if (const cycle::Owner& owner = bindings[i].owner; owner.user || owner.group)
            RF_TRY(send(channel::FileOwner{.listener = static_cast<std::uint32_t>(i),
                                           .uid = owner.user,
                                           .gid = owner.group},
                        {}));
    auto log = cycle.log_file() ? cycle.log_file().duplicate() : Result<Fd>{Fd{}};
    if (!log) return log.error();
    return send(
        channel::OfferFile{.use = channel::FileUse::log, .path = cycle.settings().log.target},
        *std::move(log));
}

Result<void> offer_draft(const Draft& draft, const cycle::Cycle* old, const Send& send) {
    const Generation& generation = draft.generation;
    RF_TRY(offer_text(channel::TextUse::configuration, draft.source.text, send));
    RF_TRY(offer_new(*generation.cycle, old, send));
    if (generation.credentials) RF_TRY(offer(*generation.credentials, send));
    return {};
}

/// Leaves the files of what was passed on to who has it now.
void let_go(Generation& generation, const cycle::Cycle* old) {
    for (const auto& listener : new_listeners(*generation.cycle, old)) listener->disown();
    if (generation.new_pid_file) generation.new_pid_file->release();
    if (generation.new_control) generation.new_control->disown();
}

void offer_findings(const std::vector<std::string>& findings, const Send& send) {
    for (const std::string& finding : findings)
        (void)offer_text(channel::TextUse::finding, finding, send);
}

}  // namespace

const cycle::Cycle* Master::current_cycle() const {
    const auto current = policy_.current_generation();
    return current ? generations_.at(*current).cycle.get() : nullptr;
}

/// Returns what the next cycle may take over from the current one, if there is one.
cycle::Stock Master::current_stock() const {
    const cycle::Cycle* current = current_cycle();
    return current == nullptr ? cycle::Stock{} : current->stock();
}

/// Returns when a build that begins now has had its time.
Instant Master::build_deadline() const {
    const cycle::Cycle* current = current_cycle();
    return now() + (current == nullptr ? limits::build_timeout_ms
                                       : current->settings().master.build_timeout);
}

/// Has a child build the next cycle: files, name services and addresses may keep it waiting.
void Master::begin_build() {
    if (rehearsal_) {  // it may hold the very addresses
        build_waits_ = true;
        return rehearsal_->abort("a reload has begun meanwhile: ask again");
    }
    // An owner in the pools, under this master's name: it is no worker's life, and what it does
    // there is to read.
    const auto row = free_row();
    if (!row) return build_failed({"no row of the zones is free for what builds the cycle"});
    const Errand errand{.row = *row, .name = {.process = process::identify(::getpid())}};
    pools_.admit(errand.row, errand.name);
    build_row_ = errand.row;
    auto started = start_builder(": builder", 0, [&, master = ::getpid()](const Send& send) {
        return build_apart(send, master, errand);
    });
    if (started) {
        build_.emplace(*std::move(started));
        return;
    }
    bury_builder();
    build_failed({"no process can be started to build the cycle: " + started.error().text()});
}

Result<Builder> Master::start_builder(std::string_view title, std::uint64_t client,
                                      const Builder::Work& work) const {
    return Builder::start(application_.name + std::string{title}, client, build_deadline(),
                          listening_fds(current_cycle()), work);
}

/// Answers `client` what a reload would change, or what would keep it from that. A child does what
/// a reload would, but for zones, the pid file and workers, and takes it down again: what it opens
/// is really opened, for a moment; a log file that it has to create stays, empty. It is nobody in
/// the pools: what becomes of zones it decides by looking.
void Master::rehearse(std::uint64_t client) {
    const auto refuse = [&](std::string why) {
        control_.answer(client, {.success = false, .text = std::move(why)}, now());
    };
    if (current_cycle() == nullptr) return refuse("no generation serves");
    if (policy_.closing()) return refuse("the master is stopping");
    if (policy_.busy()) return refuse("a reload or an upgrade is under way");
    if (rehearsal_) return refuse("another dry run is under way");
    auto started = start_builder(": dry run", client, [&, master = ::getpid()](const Send& send) {
        return rehearse_apart(send, master);
    });
    if (!started) return refuse("no process can be started for it: " + started.error().text());
    rehearsal_.emplace(*std::move(started));
}

void Master::bury_builder() {
    pools_.bury(build_row_, {.process = process::identify(::getpid())});
}

/// Takes what a builder has sent; when it has ended, goes on with that.
void Master::serve_builder(std::optional<Builder>& builder, void (Master::*end)(Estate)) {
    if (!builder) return;
    builder->receive();
    if (builder->due() && *builder->due() <= now())
        builder->abort("the cycle was not built within master.build_timeout_ms");
    if (auto estate = builder->finish()) (this->*end)(*std::move(estate));
}

void Master::end_rehearsal(Estate estate) {
    control_.answer(
        rehearsal_->client(),
        {.success = estate.success, .text = fmt::format("{}", fmt::join(estate.findings, "\n"))},
        now());
    rehearsal_.reset();
    // What is left of one that was killed goes before a reload needs the same names.
    (void)estate.take_files();
    estate = {};
    if (std::exchange(build_waits_, false)) begin_build();
}

/// Makes a generation of what the child has built; what is left to do here does not wait.
void Master::end_build(Estate estate) {
    build_.reset();
    bury_builder();
    const bool rotated = std::exchange(reopened_again_, false);
    auto pid_file = estate.take_files();
    if (!estate.success) return build_failed(estate.findings);
    if (policy_.closing()) return build_failed({"the master is stopping"});
    auto parsed = application_.parse({.name = "the configuration", .text = estate.configuration});
    if (!parsed) return build_failed(lines_of(parsed.problems()));
    Generation generation;
    generation.credentials = std::move(estate.credentials);
    generation.new_pid_file = std::move(pid_file);
    generation.new_control = std::move(estate.control);
    cycle::Stock stock = current_stock();
    for (const cycle::Group& group : estate.stock.groups)
        for (const auto& opened : group.listeners) stock.add(opened, true);
    stock.made = std::move(estate.stock.zones);
    stock.owners = std::move(estate.stock.owners);
    if (!rotated) stock.log = std::move(estate.stock.log);
    found(std::move(generation), *std::move(parsed), std::move(stock), {});
    bury_builder();  // in a pool that it has made larger it is an owner, too
}

/// Builds the next cycle, as far as that does not depend on being the master. In a child; what has
/// a file is offered as soon as it is there, so that somebody removes that whatever happens.
std::vector<std::string> Master::draft(Draft& draft, pid_t master, cycle::BuildOptions options,
                                       const Send& send) const {
    auto text = application_.read();
    if (const auto* problems = std::get_if<config::Problems>(&text)) return lines_of(*problems);
    draft.source = std::get<config::Source>(std::move(text));
    auto parsed = application_.parse(draft.source);
    if (!parsed) return lines_of(parsed.problems());
    if (!options.dry && application_.warn) application_.warn(*parsed);
    Generation& generation = draft.generation;
    std::vector<std::string> obstacles =
        prepare(generation, *parsed, master, options.dry ? Purpose::to_tell : Purpose::to_serve);
    const auto pass_on = [&](const auto&... offered) {
        if (const auto sent = offer(offered..., send); !sent)
            obstacles.push_back("what was built cannot be passed on: " + sent.error().text());
    };
    if (generation.new_pid_file) pass_on(*generation.new_pid_file);
    if (generation.new_control) pass_on(*generation.new_control, true);
    options.workers = worker_count(*parsed);
    options.opened = [&](const cycle::Listener& listener) { pass_on(listener, false); };
    const auto requests = application_.zones(*parsed);
    auto built = cycle::Cycle::build(*std::move(parsed), last_generation_ + 1, current_stock(),
                                     requests, options);
    std::ranges::move(built.obstacles, std::back_inserter(obstacles));
    draft.generation.cycle = std::move(built.cycle);
    return obstacles;
}

/// What the child of `begin_build` does: builds, and passes on what is new.
bool Master::build_apart(const Send& send, pid_t master, const Errand& errand) const {
    Draft made;
    const auto open = [&](shm::Zone& zone) -> Result<shm::Pool> {
        RF_LET(const shm::Pool pool, shm::Pool::attach(zone, errand.row));
        if (pool.owners().name(errand.row) != errand.name)
            return Error{"open a pool: its owner", std::errc::owner_dead};
        return pool;
    };
    const auto obstacles = draft(made, master, {.open_pool = open}, send);
    offer_findings(obstacles, send);
    if (!obstacles.empty()) return false;
    const auto offered = offer_draft(made, current_cycle(), send);
    if (!offered) {
        offer_findings({"what was built cannot be passed on: " + offered.error().text()}, send);
        return false;
    }
    let_go(made.generation, current_cycle());
    return true;
}

/// What the child of `rehearse` does: builds, but for zones, says what is new, and takes it down.
bool Master::rehearse_apart(const Send& send, pid_t master) const {
    Draft made;
    auto findings = draft(made, master, {.dry = true}, send);
    const bool success = findings.empty();
    if (success) {
        const cycle::Cycle& old = *current_cycle();
        findings = application_.changes(old.settings(), made.generation.cycle->settings());
        std::ranges::move(cycle::changes(old, *made.generation.cycle),
                          std::back_inserter(findings));
    }
    offer_findings(findings, send);
    return success;
}

}  // namespace ringfort::master
