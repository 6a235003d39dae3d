#include "run/run_rules.h"

#include <string_view>
#include <utility>

namespace trainctl {

RunRules load_run_rules(Files &files, const RunPaths &paths, const Recovery &recovery) {
    RunRules out;
    for (const char *name : run_rules_files) {
        const auto path = paths.file(name);
        const auto text = files.read(path);
        if (!text)
            out.problems.push_back(text.error().text());
        else if (*text) {
            if (auto book = with_rules(out.book, **text, path)) {
                out.book = std::move(*book);
                out.files.emplace_back(name);
            } else {
                out.problems.push_back(book.error().message);
            }
        } else if (std::string_view{name} == own_rules_file && !recovery.rules.empty()) {
            out.problems.push_back(path + ": there is no such file");
        }
    }
    return out;
}

} // namespace trainctl
