// How head and agents talk over TCP: frames (a length and a payload), a handshake in which both sides prove that
// they know the attempt's secret, and sealed payloads after it (they carry secrets of the user). Pure but for
// random challenges. The format has a version: both sides are the same binary, so another version is an error.
#pragma once

#include "base/ids.h"
#include "base/result.h"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace trainctl {

inline constexpr int wire_version = 1;
inline constexpr std::size_t max_frame_bytes = 1u << 20;      // of a payload; a report with every rank's last lines is half of it
inline constexpr std::size_t max_handshake_bytes = 4096;      // before anybody proved anything

// Four bytes, big-endian, and the payload.
std::string frame(std::string_view payload);

// Puts frames together again from what came in.
class FrameReader {
public:
    explicit FrameReader(std::size_t limit = max_handshake_bytes) : limit_(limit) {}
    void add(std::string_view data) { buffer_ += data; }
    void set_limit(std::size_t limit) { limit_ = limit; }
    // The next payload, nothing while it is not whole; an error (invalid) for one above the limit: hang up.
    Result<std::optional<std::string>> next();

private:
    std::size_t limit_;
    std::string buffer_;
};

// Payloads of one connection after the handshake: encrypted and authenticated (XSalsa20-Poly1305), in order.
class Sealer {
public:
    Sealer() = default;
    Sealer(std::string_view secret, const std::string &context, bool head);
    std::string seal(std::string_view text);
    // Error (denied) for anything but the other side's next payload.
    Result<std::string> open(std::string_view payload);

private:
    using Key = std::array<unsigned char, 32>;
    Key mine_{}, theirs_{};
    std::uint64_t sent_ = 0, received_ = 0;
};

// head -> agent: challenge; agent -> head: its name, proof and challenge; head -> agent: proof.
class HeadHandshake {
public:
    HeadHandshake(std::string secret, AttemptNo attempt);
    std::string challenge() const;
    struct Welcome {
        std::string node, reply;
        Sealer sealer;
    };
    // Errors: denied (wrong secret, another attempt), invalid (not ours at all).
    Result<Welcome> answer(std::string_view message) const;

private:
    std::string secret_, nonce_;
    AttemptNo attempt_;
};

class AgentHandshake {
public:
    AgentHandshake(std::string secret, std::string node, AttemptNo attempt);
    Result<std::string> answer(std::string_view challenge);
    Result<Sealer> accept(std::string_view reply) const;

private:
    std::string secret_, node_, nonce_, head_nonce_;
    AttemptNo attempt_;
};

} // namespace trainctl
