#include "cluster_link.h"

#include "agent_file.h"
#include "base/files.h"
#include "base/hash.h"
#include "base/text.h"
#include "desk/wire.h"
#include "note.h"
#include "remote/logged_transport.h"
#include "remote/ssh_transport.h"
#include "remote/upload.h"
#include "run_cache.h"

#include <atomic>
#include <csignal>
#include <fmt/format.h>
#include <fstream>

namespace trainctl {

namespace {

std::atomic<bool> interrupt_seen{false}; // set by a signal handler: there is no other way to hand it on

// Lines of the desk among the noise of a login shell.
class DeskReader {
public:
    explicit DeskReader(const std::function<bool(const Json &)> &on_message) : on_message_(on_message) {}

    bool take(std::string_view piece) {
        rest_ += piece;
        for (auto end = rest_.find('\n'); end != std::string::npos; end = rest_.find('\n')) {
            const std::string line = rest_.substr(0, end);
            rest_.erase(0, end + 1);
            if (!take_line(line))
                return false;
        }
        constexpr std::size_t longest_line = 16u << 20; // of an answer; more is noise without an end
        return rest_.size() <= longest_line;
    }

    std::optional<Json> answer;
    bool no_root = false;
    bool spoke = false;
    std::optional<std::string> missing_arch; // the agent is not there, for this architecture

private:
    bool take_line(const std::string &line) {
        if (const auto at = line.find(desk_missing_mark); at != std::string::npos) {
            missing_arch = std::string{trim(std::string_view{line}.substr(at + desk_missing_mark.size()))};
            return true;
        }
        if (line.find(desk_no_root_mark) != std::string::npos) {
            no_root = true;
            return true;
        }
        const auto at = line.find(desk_mark);
        if (at == std::string::npos)
            return true;
        auto json = parse_json(std::string_view{line}.substr(at + desk_mark.size()), "desk");
        if (!json || !json->is_object())
            return true;
        spoke = true;
        if (json->contains("answer")) {
            answer = (*json)["answer"];
            return true;
        }
        return !on_message_ || on_message_(*json);
    }

    const std::function<bool(const Json &)> &on_message_;
    std::string rest_;
};

Error desk_error(const Json &error, const std::string &where) {
    Error out{ErrorKind::io, error.value("message", "?"), error.value("where", ""), error.value("hint", "")};
    const auto kind = error.value("kind", "");
    for (int i = 0; i <= static_cast<int>(ErrorKind::io); ++i)
        if (kind == to_string(static_cast<ErrorKind>(i)))
            out.kind = static_cast<ErrorKind>(i);
    if (out.where.empty())
        out.where = where;
    return out;
}

// A cluster that refuses us (keys, host keys) is as far away as one that is silent; the same of a file there is not.
Error unreached(Error error) {
    if (interrupted())
        return {ErrorKind::interrupted, "interrupted", "", ""};
    if (error.kind == ErrorKind::denied)
        error.kind = ErrorKind::unreachable;
    return error;
}

// What a submit wanted is there for certain: in "starting" and "unknown" it may still be on its way.
bool has_job_or_end(const Json &answer) {
    const auto state = answer.value("state", "");
    return state == "pending" || state == "running" || state == "finished" || state == "failed" || state == "stopped";
}

} // namespace

bool interrupted() { return interrupt_seen; }

void listen_for_interrupts() {
    struct sigaction action {};
    action.sa_handler = [](int) { interrupt_seen = true; };
    ::sigaction(SIGINT, &action, nullptr); // no SA_RESTART: waits end at once
    ::sigaction(SIGTERM, &action, nullptr);
}

ClusterLink::ClusterLink(Profile profile, std::unique_ptr<Transport> transport)
    : profile_(std::move(profile)), transport_(std::move(transport)) {}

Result<ClusterLink> ClusterLink::open(const std::string &cluster) {
    auto profile = find_profile(profiles_path(), cluster);
    if (!profile)
        return profile.error();
    listen_for_interrupts();
    std::unique_ptr<Transport> transport;
    if (profile->via == Via::ssh)
        transport = std::make_unique<SshTransport>(SshOptions{.host = profile->host, .config_path = profile->ssh_config, .interrupted = interrupted});
    else
        transport = std::make_unique<LocalTransport>(Environment{}, interrupted);
    if (verbose())
        transport = std::make_unique<LoggedTransport>(std::move(transport), Log{transport->name(), [](const std::string &line) { note("{}\n", line); }});
    ClusterLink link{std::move(*profile), std::move(transport)};
    auto agent = find_agent();
    if (!agent)
        return agent.error();
    link.agent_ = agent->path;
    link.agent_hash_ = agent->sha256;
    return link;
}

Result<ClusterLink> ClusterLink::of_run(std::string &run, const std::string &cluster) {
    if (!cluster.empty())
        return open(cluster);
    const auto known = cached_run(run);
    if (!known)
        return known.error();
    if (*known)
        run = (*known)->run;
    auto link = open(*known ? (*known)->cluster : "");
    if (link)
        link->guessed_ = !*known;
    return link;
}

std::string ClusterLink::where() const {
    return profile_.name.empty() ? "this machine" : fmt::format("{} ({})", profile_.name, transport_->name());
}

std::string ClusterLink::exports() const {
    std::string line;
    for (const auto &[name, value] : profile_.environment)
        line += "export " + name + "=" + shell_quote(value) + "; ";
    return line;
}

Result<std::string> ClusterLink::absolute_root() {
    if (starts_with(profile_.root, "/"))
        return profile_.root;
    RemoteCommand command;
    command.line = exports() + fmt::format("printf '%s\\n' {}\"$HOME\"", shell_quote(desk_home_mark));
    auto result = transport_->run(command);
    if (!result)
        return unreached(result.error());
    const auto at = result->out.find(desk_home_mark);
    const auto home = at == std::string::npos ? "" : result->out.substr(at + desk_home_mark.size(), result->out.find('\n', at) - at - desk_home_mark.size());
    if (!starts_with(home, "/"))
        return Error{ErrorKind::io, "the cluster does not say where your home folder is", where(), "make `root` in the cluster's profile absolute"};
    return expand_home(profile_.root, home);
}

Result<CommandResult> ClusterLink::run(RemoteCommand command) {
    command.line = exports() + command.line;
    auto result = transport_->run(command);
    return result ? result : Result<CommandResult>{unreached(result.error())};
}

// Only a submit makes a run root; the others say that there is none.
std::string ClusterLink::desk_line(bool new_root) const {
    const auto agent = join_path(profile_.root, "bin/trainctl-agent-" + agent_hash_.substr(0, agent_hash_digits));
    const auto no_root = new_root ? "" : fmt::format("elif ! test -d {}; then echo {}; ", shell_path(profile_.root), shell_quote(desk_no_root_mark));
    return exports() + fmt::format("a={}-$(uname -m); if test -x \"$a\"; then exec \"$a\" desk; {}else echo {} \"$(uname -m)\"; fi", shell_path(agent),
                              no_root, shell_quote(desk_missing_mark));
}

Result<Json> ClusterLink::call(Json request, const std::function<bool(const Json &)> &on_message, Duration deadline) {
    request["format"] = desk_format;
    request["root"] = profile_.root;
    request["cluster"] = profile_.name;
    const auto verb = request.value("verb", "");
    for (int round = 0; round < 2; ++round) {
        DeskReader reader{on_message};
        RemoteCommand command{desk_line(verb == "submit"), dump_json(request) + "\n", {}, {}, deadline};
        command.on_output = [&reader](std::string_view piece) { return !interrupted() && reader.take(piece); };
        auto result = transport_->run(command);
        heard_ = heard_ || reader.spoke; // also where the link broke later
        if (!result)
            return unreached(result.error());
        if (reader.no_root)
            return not_there({ErrorKind::not_found, "there is no run root", profile_.root + " on " + where(), "the first submit makes it; or see `root` in the cluster's profile"});
        if (reader.missing_arch) {
            if (auto sent = send_agent(*reader.missing_arch); !sent)
                return sent.error();
            continue;
        }
        if (!reader.answer)
            return Error{ErrorKind::unreachable, fmt::format("trainctl-agent there ended with {} and no answer{}{}", result->exit_code, result->err.empty() ? "" : ": ",
                                                             trim(result->err)), where(), "is the run root on a file system that allows programs to run?"};
        if (reader.answer->contains("error"))
            return not_there(desk_error((*reader.answer)["error"], where()));
        if (verb != "submit" && has_job_or_end(*reader.answer))
            saw_run(reader.answer->value("run", ""));
        return *reader.answer;
    }
    return Error{ErrorKind::io, "trainctl-agent was sent and is not there", where(), "is the run root on a file system that allows programs to run (no `noexec`)?"};
}

Error ClusterLink::not_there(Error error) const {
    if (guessed_ && error.kind == ErrorKind::not_found)
        error.hint = "no such run was submitted from this machine: --cluster NAME says where it is";
    return error;
}

Result<void> ClusterLink::send_agent(const std::string &arch) {
    auto agent = find_agent(arch);
    if (!agent)
        return agent.error();
    const auto file = std::make_shared<std::ifstream>(agent->path, std::ios::binary);
    Upload put;
    put.path = join_path(profile_.root, "bin/trainctl-agent-" + agent_hash_.substr(0, agent_hash_digits) + "-" + arch);
    put.sha256 = agent->sha256;
    put.mode = "0755";
    put.more_input = [file, path = agent->path]() -> Result<std::string> {
        std::string piece(1u << 18, '\0');
        file->read(piece.data(), static_cast<std::streamsize>(piece.size()));
        piece.resize(static_cast<std::size_t>(file->gcount()));
        if (file->bad())
            return Error{ErrorKind::io, "cannot read", path, ""};
        return piece;
    };
    return upload(*transport_, put);
}

} // namespace trainctl
