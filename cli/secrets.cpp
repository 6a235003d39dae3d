#include "secrets.h"

#include "base/process.h"
#include "base/text.h"
#include "command.h"
#include "note.h"

namespace trainctl {

int read_secrets(const std::vector<std::string> &names, Json &secrets) {
    std::vector<std::string> missing;
    const Environment own = own_environment();
    for (const auto &name : names) {
        const auto at = own.find(name);
        if (at == own.end()) {
            missing.push_back(name);
        } else if (valid_utf8(at->second) != at->second) {
            note("trainctl: error: the secret {} is not UTF-8 text\nhint: encode it, for example as base64, and decode it in the training\n", name);
            return exit_usage;
        } else {
            secrets[name] = at->second;
        }
    }
    if (missing.empty())
        return exit_ok;
    note("trainctl: error: environment.secrets names {} and the environment here has no such variable\n"
         "hint: export it, then the same command again\n", join(missing, ", "));
    return exit_usage;
}

} // namespace trainctl
