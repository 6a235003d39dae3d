// Puts a stream of any size into a file on the cluster, in constant memory: readers there see the old file or
// the new one whole, never a part, whenever the link breaks. Effects through the Transport only.
#pragma once

#include "remote/transport.h"

#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace trainctl {

struct Upload {
    std::string path;                                // there; "~/..." and "$HOME/..." are the remote user's
    std::function<Result<std::string>()> more_input; // the content, piece by piece; an empty piece ends it
    std::optional<std::string> sha256 = {};          // known beforehand: one command less
    std::string mode = "0600";
    Duration deadline = std::chrono::hours{1};
};

// Makes the folders above (0700), writes beside, compares the SHA-256 there, syncs and renames. Errors: those
// of Transport::run and more_input; no_space, denied, io with the other side's words. After any error but a
// lost answer to the last step the old file stands.
Result<void> upload(Transport &transport, const Upload &upload);

// A path as one word for a remote shell: quoted, with a leading "~/" or "$HOME/" left to be the home there.
std::string shell_path(std::string_view path);

} // namespace trainctl
