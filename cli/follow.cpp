#include "follow.h"

#include "base/text.h"
#include "command.h"
#include "note.h"
#include "report/terminal_text.h"

#include <chrono>
#include <cstdlib>
#include <fmt/format.h>
#include <unistd.h>

namespace trainctl {

namespace {

using namespace std::chrono_literals;

constexpr int most_reconnects = 20;        // in a row, without anything new between them
constexpr Duration first_pause = 1s, longest_pause = 60s;

// Log lines of several files, each change of file named as `tail` does.
class LogPrinter {
public:
    void print(const Json &log) {
        const auto file = log.value("file", "");
        std::string text;
        if (file != last_)
            text = fmt::format("{}==> attempt {}, {} <==\n", last_.empty() ? "" : "\n", std::strtol(file.c_str(), nullptr, 10), name_of(file));
        last_ = file;
        for (const auto &line : cleaned_lines(log.value("text", "")))
            text += line + "\n";
        trainctl::print(text);
    }

private:
    // "001/logs/g01/n1.log" -> "g01/n1"
    static std::string name_of(const std::string &file) {
        const auto from = file.find("logs/");
        const auto name = from == std::string::npos ? file : file.substr(from + 5);
        return name.substr(0, name.rfind('.'));
    }
    std::string last_;
};

// What is asked of the desk: after a lost link from where it had come, whichever attempt is the newest by then.
class Question {
public:
    explicit Question(const FollowRequest &request)
        : json_{{"verb", "logs"}, {"run", request.run}, {"follow", request.follow}, {"quiet", !request.logs}, {"all", request.all},
                {"attempt", request.attempt}, {"tail", request.tail}, {"places", Json::object()}} {}

    void heard(const Json &message) {
        if (const auto following = message.find("following"); following != message.end()) {
            json_["attempt"] = following->value("attempt", 0);
            json_["places"] = following->value("places", Json::object());
            json_["tail"] = -1;
        }
        if (const auto log = message.find("log"); log != message.end())
            json_["places"][log->value("file", "")] = {{"inode", log->value("inode", std::uint64_t{0})}, {"offset", log->value("offset", std::int64_t{0})}};
    }
    const Json &json() const { return json_; }

private:
    Json json_;
};

// One line for each change: which attempt trains, and why the one before ended.
void say_state(const Json &status) {
    std::string line = fmt::format("{}: {}", status.value("run", ""), state_and_why(status));
    const Json *trained = nullptr, *before = nullptr;
    for (const auto &attempt : status["attempts"])
        if (!attempt["owner"].is_null()) {
            before = trained;
            trained = &attempt;
        }
    if (trained != nullptr)
        line += fmt::format(", attempt {}", trained->value("no", 0));
    if (before != nullptr && !(*before)["verdict"].is_null() && status.value("state", "") == "running")
        line += fmt::format("; attempt {} ended: {}", before->value("no", 0), (*before)["verdict"].value("text", ""));
    note("{}\n", clean(line));
}

void say_dropped(const Json &dropped) {
    note("trainctl: warning: the logs of attempt {} lack {}, which could not be written on the cluster: was its disk full?\n",
         dropped.value("attempt", 0), counted(dropped.value("lines", std::int64_t{0}), "line"));
}

// Waits between two tries of a broken link; false when the user interrupts.
bool pause(int tries) {
    const Duration wait = std::min<Duration>(first_pause * (1 << std::min(tries, 6)), longest_pause);
    const auto end = std::chrono::steady_clock::now() + wait;
    while (std::chrono::steady_clock::now() < end && !interrupted())
        SystemClock{}.sleep_for(100ms); // short: an interrupt is seen soon
    return !interrupted();
}

int say_that_it_goes_on(const std::string &run) {
    note("{0} goes on; trainctl status {0} shows it, trainctl cancel {0} ends it\n", run);
    return exit_interrupted;
}

} // namespace

int exit_code_of(const Json &status) {
    const auto state = status.value("state", "");
    return state == "finished" ? exit_ok : state == "failed" ? exit_run_failed : exit_failed;
}

std::string state_and_why(const Json &status) {
    const auto state = status.value("state", ""), text = status.value("text", "");
    return clean(text.empty() || text == state ? state : fmt::format("{} ({})", state, text));
}

int follow_run(ClusterLink &link, const FollowRequest &request) {
    LogPrinter printer;
    Question question{request};
    int failures = 0;
    for (;;) {
        auto status = link.call(
            question.json(),
            [&](const Json &message) {
                failures = 0;
                question.heard(message);
                if (request.json) {
                    Json line = message;
                    line["format"] = 1;
                    print(dump_json(line) + "\n");
                } else if (message.contains("log"))
                    printer.print(message["log"]);
                else if (message.contains("problem"))
                    note("trainctl: warning: {}\n", clean(message.value("problem", "")));
                else if (message.contains("dropped"))
                    say_dropped(message["dropped"]);
                else if (message.contains("status") && request.follow)
                    say_state(message["status"]);
                return true;
            },
            request.follow ? Duration{std::chrono::hours{24 * 60}} : Duration{10min});
        if (status)
            return request.follow ? exit_code_of(*status) : exit_ok;
        const bool link_lost = status.error().kind == ErrorKind::unreachable || status.error().kind == ErrorKind::timeout;
        if (!request.follow || !link_lost || !link.heard() || ++failures > most_reconnects) {
            const int code = report_error(status.error());
            return code == exit_interrupted ? say_that_it_goes_on(request.run) : code;
        }
        note("trainctl: {}; trying again\n", status.error().message);
        if (!pause(failures))
            return say_that_it_goes_on(request.run);
    }
}

} // namespace trainctl
