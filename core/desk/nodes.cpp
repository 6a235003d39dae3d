// Which nodes the runs of this root avoid, and why; and forgetting that.
#include "desk/desk.h"

#include "recovery/node_memory.h"

#include <set>

namespace trainctl {

Result<Json> desk_nodes(DeskCall &call) {
    const auto now = unix_seconds(call.clock.wall());
    if (call.request.value("clear", false)) {
        std::set<std::string> nodes;
        for (const auto &node : call.request.value("nodes", Json::array()))
            nodes.insert(node.get<std::string>());
        const auto forgotten = forget_nodes(call.files, call.root, nodes);
        if (!forgotten)
            return forgotten.error();
        return Json{{"format", 1}, {"forgotten", *forgotten}};
    }
    const auto notes = read_remembered_nodes(call.files, call.root, now);
    if (!notes)
        return notes.error();
    const auto avoided = nodes_to_avoid(*notes, ProtocolLimits{}.most_doubted_nodes);
    Json out{{"format", 1}, {"now", now}, {"notes", Json::array()}};
    for (const auto &note : *notes)
        out["notes"].push_back({{"node", note.node}, {"run", note.run}, {"attempt", note.attempt}, {"generation", note.generation},
                                {"proven", note.proven}, {"until", note.until}, {"when", note.when}, {"class", note.failure_class},
                                {"why", note.why}, {"avoided", avoided.contains(note.node)}});
    return out;
}

} // namespace trainctl
