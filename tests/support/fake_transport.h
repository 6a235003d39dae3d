// A Transport for tests: a small machine with handlers in place of commands. Counts what it ran, and can lose
// the link before or after the effect of any command.
#pragma once

#include "remote/transport.h"

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace trainctl {

class FakeTransport final : public Transport {
public:
    // What a command does there: its line and all of its input. The first handler whose text is part of the
    // line gets it; a line that nobody knows exits 127 as in a shell.
    using Handler = std::function<CommandResult(const std::string &line, const std::string &input)>;
    void on(std::string part_of_line, Handler handler) { handlers_.emplace_back(std::move(part_of_line), std::move(handler)); }
    void answer(std::string part_of_line, std::string out, int exit_code = 0) {
        on(std::move(part_of_line), [out = std::move(out), exit_code](const std::string &, const std::string &) {
            CommandResult result;
            result.exit_code = exit_code;
            result.out = out;
            return result;
        });
    }

    // The n-th command from now (1: the next) has no effect, or has it but its answer is lost.
    void lose_before(int n) { lose_before_ = commands + n; }
    void lose_after(int n) { lose_after_ = commands + n; }
    // While set, every command fails with it and has no effect.
    std::optional<Error> down;

    int commands = 0;               // asked for
    int effects = 0;                // handled
    std::vector<std::string> lines; // of those asked for

    Result<CommandResult> run(const RemoteCommand &command) override {
        ++commands;
        lines.push_back(command.line);
        if (down)
            return *down;
        if (commands == lose_before_)
            return lost();
        std::string input = command.input;
        while (command.more_input) {
            auto piece = command.more_input();
            if (!piece)
                return piece.error();
            if (piece->empty())
                break;
            input += *piece;
        }
        CommandResult result = handle(command.line, input);
        if (commands == lose_after_)
            return lost();
        if (command.on_output) {
            if (!result.out.empty() && !command.on_output(result.out))
                return Error{ErrorKind::interrupted, "the command was ended on request", name(), ""};
            result.out.clear();
        }
        return result;
    }
    std::string name() const override { return "user@fake:22"; }

private:
    CommandResult handle(const std::string &line, const std::string &input) {
        for (const auto &[part, handler] : handlers_)
            if (line.find(part) != std::string::npos) {
                ++effects;
                return handler(line, input);
            }
        CommandResult result;
        result.exit_code = 127;
        result.err = "sh: command not found\n";
        return result;
    }
    Error lost() const { return {ErrorKind::unreachable, "the connection was lost", name(), ""}; }

    std::vector<std::pair<std::string, Handler>> handlers_;
    int lose_before_ = -1, lose_after_ = -1;
};

} // namespace trainctl
