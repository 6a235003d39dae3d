#include "agent/wire.h"

#include "base/hash.h"
#include "base/json.h"

#include <sodium.h>

namespace trainctl {

namespace {

using Nonce = std::array<unsigned char, crypto_secretbox_NONCEBYTES>;
static_assert(crypto_secretbox_KEYBYTES == 32);

Nonce nonce_of(std::uint64_t count) {
    Nonce out{};
    for (std::size_t i = 0; i < 8; ++i)
        out[i] = static_cast<unsigned char>(count >> (8 * i));
    return out;
}

std::array<unsigned char, 32> key_of(std::string_view secret, const std::string &context) {
    std::array<unsigned char, 32> key{};
    const std::string hex = hmac_hex(secret, "key " + context);
    INVARIANT(::sodium_hex2bin(key.data(), key.size(), hex.data(), hex.size(), nullptr, nullptr, nullptr) == 0);
    return key;
}

const unsigned char *bytes(std::string_view text) { return reinterpret_cast<const unsigned char *>(text.data()); }
unsigned char *bytes(std::string &text) { return reinterpret_cast<unsigned char *>(text.data()); }

std::string context_of(const std::string &head_nonce, const std::string &agent_nonce, const std::string &node, AttemptNo attempt) {
    return head_nonce + " " + agent_nonce + " " + to_string(attempt) + " " + node;
}

Error not_ours(const std::string &what) { return Error{ErrorKind::invalid, "not a trainctl handshake: " + what, "", ""}; }

Result<Json> handshake_json(std::string_view text) {
    auto json = parse_json(text, "handshake");
    if (!json || !json->is_object())
        return not_ours("no JSON");
    return json;
}

std::string field(const Json &json, const char *name) {
    const auto found = json.find(name);
    return found != json.end() && found->is_string() ? found->get<std::string>() : std::string{};
}

} // namespace

std::string frame(std::string_view payload) {
    INVARIANT(payload.size() <= max_frame_bytes);
    std::string out;
    for (int shift = 24; shift >= 0; shift -= 8)
        out += static_cast<char>((payload.size() >> shift) & 0xff);
    return out.append(payload);
}

Result<std::optional<std::string>> FrameReader::next() {
    if (buffer_.size() < 4)
        return std::optional<std::string>{};
    std::size_t size = 0;
    for (std::size_t i = 0; i < 4; ++i)
        size = size << 8 | static_cast<unsigned char>(buffer_[i]);
    if (size > limit_)
        return Error{ErrorKind::invalid, "a frame of " + std::to_string(size) + " bytes", "", ""};
    if (buffer_.size() < 4 + size)
        return std::optional<std::string>{};
    std::string payload = buffer_.substr(4, size);
    buffer_.erase(0, 4 + size);
    return std::optional<std::string>{std::move(payload)};
}

Sealer::Sealer(std::string_view secret, const std::string &context, bool head)
    : mine_(key_of(secret, (head ? "head " : "agent ") + context)),
      theirs_(key_of(secret, (head ? "agent " : "head ") + context)) {
    INVARIANT(::sodium_init() >= 0);
}

std::string Sealer::seal(std::string_view text) {
    std::string out(text.size() + crypto_secretbox_MACBYTES, '\0');
    ::crypto_secretbox_easy(bytes(out), bytes(text), text.size(), nonce_of(sent_++).data(), mine_.data());
    return out;
}

Result<std::string> Sealer::open(std::string_view payload) {
    if (payload.size() < crypto_secretbox_MACBYTES)
        return Error{ErrorKind::denied, "a payload that is too short to be sealed", "", ""};
    std::string out(payload.size() - crypto_secretbox_MACBYTES, '\0');
    if (::crypto_secretbox_open_easy(bytes(out), bytes(payload), payload.size(), nonce_of(received_).data(), theirs_.data()) != 0)
        return Error{ErrorKind::denied, "a payload that the other side did not seal", "", ""};
    ++received_;
    return out;
}

HeadHandshake::HeadHandshake(std::string secret, AttemptNo attempt)
    : secret_(std::move(secret)), nonce_(random_hex(32)), attempt_(attempt) {}

std::string HeadHandshake::challenge() const { return dump_json(Json{{"v", wire_version}, {"challenge", nonce_}}); }

Result<HeadHandshake::Welcome> HeadHandshake::answer(std::string_view message) const {
    const auto json = handshake_json(message);
    if (!json)
        return json.error();
    const std::string node = field(*json, "node"), nonce = field(*json, "challenge");
    if (json->value("v", Json{}) != Json(wire_version) || node.empty() || nonce.size() != 64)
        return not_ours("other fields or another version");
    const std::string context = context_of(nonce_, nonce, node, attempt_);
    if (!same_secret(field(*json, "proof"), hmac_hex(secret_, "agent " + context)))
        return Error{ErrorKind::denied, "the agent of " + node + " does not know this attempt's secret", "", ""};
    return Welcome{node, dump_json(Json{{"proof", hmac_hex(secret_, "head " + context)}}), Sealer{secret_, context, true}};
}

AgentHandshake::AgentHandshake(std::string secret, std::string node, AttemptNo attempt)
    : secret_(std::move(secret)), node_(std::move(node)), nonce_(random_hex(32)), attempt_(attempt) {}

Result<std::string> AgentHandshake::answer(std::string_view challenge) {
    const auto json = handshake_json(challenge);
    if (!json)
        return json.error();
    head_nonce_ = field(*json, "challenge");
    if (json->value("v", Json{}) != Json(wire_version) || head_nonce_.size() != 64)
        return not_ours("other fields or another version");
    const std::string proof = hmac_hex(secret_, "agent " + context_of(head_nonce_, nonce_, node_, attempt_));
    return dump_json(Json{{"v", wire_version}, {"node", node_}, {"challenge", nonce_}, {"proof", proof}});
}

Result<Sealer> AgentHandshake::accept(std::string_view reply) const {
    const auto json = handshake_json(reply);
    if (!json)
        return json.error();
    const std::string context = context_of(head_nonce_, nonce_, node_, attempt_);
    if (head_nonce_.empty() || !same_secret(field(*json, "proof"), hmac_hex(secret_, "head " + context)))
        return Error{ErrorKind::denied, "whoever listens there does not know this attempt's secret", "", ""};
    return Sealer{secret_, context, false};
}

} // namespace trainctl
