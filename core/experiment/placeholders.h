// Placeholders in values: {run}, {attempt}, {checkpoint} with its {checkpoint_step} and {checkpoint_name}, and {checkpoint_dir},
// filled in by the agent, and ${NAME}, the submitter's environment, filled in when the experiment is read. Pure.
//
// Only {word} of lower-case letters, digits and _ is a candidate; all other braces are text, so JSON and Python
// stay as they are. {{word}} is the text {word}, $${NAME} the text ${NAME} (one more brace or $ is taken away).
#pragma once

#include "base/process.h"
#include "base/result.h"

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace trainctl {

// What a field allows, as bits.
enum PlaceholderSet : unsigned {
    no_placeholders = 0,
    env_placeholder = 1,            // ${NAME}
    run_placeholder = 2,            // {run}: the run's id
    attempt_placeholder = 4,        // {attempt}: "1", "2", ...
    checkpoint_placeholder = 8,     // {checkpoint}: path of the checkpoint to resume from; {checkpoint_step}, {checkpoint_name}
    checkpoint_dir_placeholder = 16 // {checkpoint_dir}: checkpoint.dir, absolute
};

// The names in a set, in braces: "{run}, {attempt}, ${NAME}".
std::string placeholder_names(unsigned allowed);

// Fills in ${NAME} and refuses placeholders that are unknown or not in `allowed`. Where `allowed` is
// env_placeholder alone the answer is the final text; else it still has the agent's placeholders and escapes.
struct ResolvedText {
    std::string text;
    std::vector<std::string> problems;
};
ResolvedText resolve_text(std::string_view text, unsigned allowed, const Environment &environment);

// The final text. `values` has a text for each placeholder by its name ("run"). Errors: invalid, for a placeholder
// without a value.
Result<std::string> expand(std::string_view text, const std::map<std::string, std::string> &values);

// The text that expand() turns into `text`.
std::string escape_placeholders(std::string_view text);

} // namespace trainctl
