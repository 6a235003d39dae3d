#include "base/hash.h"

#include "base/invariant.h"

#include <sodium.h>
#include <vector>

namespace trainctl {

namespace {

std::string hex_of(const unsigned char *bytes, std::size_t size) {
    std::string out(size * 2 + 1, '\0');
    sodium_bin2hex(out.data(), out.size(), bytes, size);
    out.pop_back();
    return out;
}

const unsigned char *bytes_of(std::string_view text) { return reinterpret_cast<const unsigned char *>(text.data()); }

} // namespace

struct Sha256::State {
    crypto_hash_sha256_state hash;
};

Sha256::Sha256() : state_(std::make_unique<State>()) { crypto_hash_sha256_init(&state_->hash); }
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256 &&) noexcept = default;
Sha256 &Sha256::operator=(Sha256 &&) noexcept = default;

void Sha256::add(std::string_view data) { crypto_hash_sha256_update(&state_->hash, bytes_of(data), data.size()); }

std::string Sha256::hex() {
    unsigned char digest[crypto_hash_sha256_BYTES];
    crypto_hash_sha256_final(&state_->hash, digest);
    return hex_of(digest, sizeof digest);
}

std::string sha256_hex(std::string_view data) {
    Sha256 hash;
    hash.add(data);
    return hash.hex();
}

std::string to_base64(std::string_view bytes) {
    std::string out(sodium_base64_encoded_len(bytes.size(), sodium_base64_VARIANT_ORIGINAL), '\0');
    sodium_bin2base64(out.data(), out.size(), bytes_of(bytes), bytes.size(), sodium_base64_VARIANT_ORIGINAL);
    out.pop_back();
    return out;
}

std::optional<std::string> from_base64(std::string_view text) {
    std::vector<unsigned char> bytes(text.size() / 4 * 3 + 3);
    std::size_t size = 0;
    if (sodium_base642bin(bytes.data(), bytes.size(), text.data(), text.size(), nullptr, &size, nullptr, sodium_base64_VARIANT_ORIGINAL) != 0)
        return std::nullopt;
    return std::string(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
}

std::string hmac_hex(std::string_view key, std::string_view message) {
    crypto_auth_hmacsha512256_state state;
    unsigned char mac[crypto_auth_hmacsha512256_BYTES];
    crypto_auth_hmacsha512256_init(&state, bytes_of(key), key.size());
    crypto_auth_hmacsha512256_update(&state, bytes_of(message), message.size());
    crypto_auth_hmacsha512256_final(&state, mac);
    return hex_of(mac, sizeof mac);
}

bool same_secret(std::string_view a, std::string_view b) {
    return a.size() == b.size() && sodium_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::string random_hex(std::size_t bytes) {
    INVARIANT(sodium_init() >= 0);
    std::vector<unsigned char> raw(bytes);
    randombytes_buf(raw.data(), raw.size());
    return hex_of(raw.data(), raw.size());
}

std::string random_word(std::size_t length) {
    constexpr std::string_view letters = "abcdefghijkmnpqrstuvwxyz23456789";
    INVARIANT(sodium_init() >= 0);
    std::string word;
    for (std::size_t i = 0; i < length; ++i)
        word += letters[randombytes_uniform(static_cast<std::uint32_t>(letters.size()))];
    return word;
}

} // namespace trainctl
