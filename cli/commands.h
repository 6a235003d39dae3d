// The one list of commands, in the order of `trainctl --help`. Each is one file in commands/; an explicit list,
// because the linker drops what registers itself.
#pragma once

#include "command.h"

#include <array>

namespace trainctl {

void add_check(CLI::App &app, Invocation &invocation);
void add_render(CLI::App &app, Invocation &invocation);
void add_submit(CLI::App &app, Invocation &invocation);
void add_status(CLI::App &app, Invocation &invocation);
void add_logs(CLI::App &app, Invocation &invocation);
void add_stop(CLI::App &app, Invocation &invocation);
void add_checkpoint_now(CLI::App &app, Invocation &invocation);
void add_checkpoints(CLI::App &app, Invocation &invocation);
void add_cancel(CLI::App &app, Invocation &invocation);
void add_resume(CLI::App &app, Invocation &invocation);
void add_explain(CLI::App &app, Invocation &invocation);
void add_nodes(CLI::App &app, Invocation &invocation);
void add_diagnose(CLI::App &app, Invocation &invocation);
void add_drill(CLI::App &app, Invocation &invocation);
void add_list(CLI::App &app, Invocation &invocation);
void add_sandbox(CLI::App &app, Invocation &invocation);
void add_version(CLI::App &app, Invocation &invocation);

inline constexpr std::array commands = {
    add_check,
    add_render,
    add_submit,
    add_status,
    add_logs,
    add_checkpoint_now,
    add_checkpoints,
    add_stop,
    add_cancel,
    add_resume,
    add_list,
    add_explain,
    add_diagnose,
    add_nodes,
    add_drill,
    add_sandbox,
    add_version,
};

} // namespace trainctl
