// How the agents on a cluster's nodes reach the head of their attempt. Pure.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string_view>

namespace trainctl {

// automatic: by TCP, and where that has no answer through srun's standard streams.
enum class AgentNetwork { automatic, tcp, srun };

inline constexpr std::array<const char *, 3> agent_network_names{"auto", "tcp", "srun"};

inline const char *to_string(AgentNetwork network) { return agent_network_names.at(static_cast<std::size_t>(network)); }
inline std::optional<AgentNetwork> parse_agent_network(std::string_view text) {
    for (std::size_t i = 0; i < agent_network_names.size(); ++i)
        if (text == agent_network_names[i])
            return static_cast<AgentNetwork>(i);
    return std::nullopt;
}

} // namespace trainctl
