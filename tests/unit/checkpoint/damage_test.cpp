// Indexes whose content was changed: whatever they say then, it is judged, and not believed where it can be seen.
#include "base/json.h"
#include "unit/checkpoint/saved.h"

#include <random>

using namespace trainctl;

namespace {

bool is_json(const std::string &content) { return content.starts_with("{") || content.starts_with("["); }

// Each value of a JSON in turn is replaced by values of other kinds.
void replaced_values(const Json &whole, const std::function<void(const Json &)> &use) {
    std::vector<Json::json_pointer> places;
    const std::function<void(const Json &, const Json::json_pointer &)> walk = [&](const Json &value, const Json::json_pointer &at) {
        places.push_back(at);
        if (value.is_object())
            for (const auto &[key, inside] : value.items())
                walk(inside, at / key);
        else if (value.is_array())
            for (std::size_t i = 0; i < value.size(); ++i)
                walk(value[i], at / i);
    };
    walk(whole, Json::json_pointer{});
    for (const auto &at : places)
        for (const auto &other : {Json{}, Json(-1), Json(std::uint64_t{0} - 1), Json(1.5), Json("x"), Json(""), Json("../x"), Json::array(), Json::object(), Json(true)}) {
            auto changed = whole;
            changed[at] = other;
            use(changed);
        }
}

std::string header_of(const std::string &safetensors) {
    std::uint64_t size = 0;
    for (std::size_t i = 8; i-- > 0;)
        size = size << 8 | static_cast<unsigned char>(safetensors[i]);
    return safetensors.substr(8, size);
}

std::string with_header(const std::string &safetensors, const std::string &header) {
    std::string size;
    for (int i = 0; i < 8; ++i)
        size += static_cast<char>(header.size() >> (8 * i) & 0xff);
    return size + header + safetensors.substr(8 + header_of(safetensors).size());
}

} // namespace

TEST_CASE("damage: an index of other kinds of values is judged like any other, and says why where it is refused") {
    int judged = 0;
    for (const auto &one : saved_formats()) {
        auto folder = saves().folder(one.folder);
        for (auto &[file, content] : folder.files) {
            const bool tensors = file.ends_with(".safetensors");
            if (!tensors && !is_json(content))
                continue;
            CAPTURE(one.folder);
            CAPTURE(file);
            const auto whole = content;
            replaced_values(Json::parse(tensors ? header_of(whole) : whole), [&](const Json &changed) {
                content = tensors ? with_header(whole, changed.dump()) : changed.dump();
                CAPTURE(changed.dump());
                const auto verdict = folder.judged(one.format, one.name);
                CHECK(verdict.complete == verdict.why_not.empty());
                ++judged;
            });
            content = whole;
        }
    }
    CHECK(judged > 1000);
}

TEST_CASE("damage: an index that names another file, or more of one than there is, is refused") {
    const auto refused = [](const SavedFormat &one, const std::string &file, const std::function<void(Json &)> &change) {
        auto folder = saves().folder(one.folder);
        auto &content = folder.files.at(one.name + "/" + file);
        auto json = Json::parse(content);
        change(json);
        content = json.dump();
        CAPTURE(content);
        CHECK(!folder.judged(one.format, one.name).complete);
    };
    const SavedFormat sharded{"safetensors", CheckpointFormat::safetensors, "step-7"}, trainer{"huggingface", CheckpointFormat::huggingface, "checkpoint-7"};
    for (const auto &one : {sharded, trainer})
        for (const auto &named : {Json("model-00003-of-00003.safetensors"), Json("../model-00001-of-00002.safetensors"), Json("model-00001-of-00002.safetensors"), Json(""), Json(7)})
            refused(one, "model.safetensors.index.json", [&](Json &json) { json["weight_map"]["c"] = named; });
    refused(trainer, "trainer_state.json", [](Json &json) { json["global_step"] = "7"; });
    refused({"megatron-dist", CheckpointFormat::megatron, "iter_0000007"}, "metadata.json", [](Json &json) { json["sharded_backend"] = "zarr"; });
    refused({"orbax", CheckpointFormat::orbax, "7"}, "_CHECKPOINT_METADATA", [](Json &json) { json["item_handlers"]["more"] = "x.StandardCheckpointHandler"; });
    // torch.distributed.checkpoint: each number of bytes and each file name, one more.
    auto folder = saves().folder("dcp");
    auto &metadata = folder.files.at("step-7/.metadata");
    const auto whole = metadata;
    int changed = 0;
    for (auto at = whole.find(".distcp"); at != std::string::npos; at = whole.find(".distcp", at + 1)) {
        metadata = whole;
        metadata[at - 1] = '9';
        CHECK(folder.judged(CheckpointFormat::dcp, "step-7").why_not.find("is missing (.metadata names it)") != std::string::npos);
        ++changed;
    }
    CHECK(changed == 2); // a name comes once, then it is referred to
    metadata = whole;
    folder.files.at("step-7/__1_0.distcp").pop_back();
    CHECK(folder.judged(CheckpointFormat::dcp, "step-7").why_not.find("__1_0.distcp has ") == 0);
}

TEST_CASE("damage: bytes that are changed, left out or doubled anywhere are judged, and Orbax's manifests and zips' ends refused") {
    std::mt19937 random{7};
    const auto pick = [&](std::size_t below) { return std::uniform_int_distribution<std::size_t>{0, below - 1}(random); };
    for (const auto &one : saved_formats()) {
        auto folder = saves().folder(one.folder);
        for (auto &[file, content] : folder.files) {
            const auto whole = content;
            for (int round = 0; round < 40; ++round) {
                content = whole;
                const auto at = pick(whole.size());
                const auto length = 1 + pick(std::min<std::size_t>(16, whole.size() - at));
                switch (round % 4) {
                case 0: content[at] = static_cast<char>(content[at] ^ (1 << pick(8))); break;
                case 1: content.erase(at, length); break;
                case 2: content.insert(at, whole.substr(at, length)); break;
                default: content.replace(at, length, length, '\0'); break;
                }
                CAPTURE(one.folder);
                CAPTURE(file);
                CAPTURE(round);
                CAPTURE(at);
                const auto verdict = folder.judged(one.format, one.name);
                CHECK(verdict.complete == verdict.why_not.empty());
                if (content != whole && file.ends_with("manifest.ocdbt"))
                    CHECK(!verdict.complete);
            }
            content = whole;
            if (whole.starts_with("PK\3\4") && !file.ends_with(".distcp")) // of several zips, one for each item
                for (std::size_t back = 1; back <= 22; ++back) { // the end record
                    content[whole.size() - back] = static_cast<char>(~content[whole.size() - back]);
                    const auto verdict = folder.judged(one.format, one.name);
                    CHECK(verdict.complete == verdict.why_not.empty());
                    if (back <= 2 || back > 18) // its comment's length and its signature; the rest may be in a zip64 record before it
                        CHECK(!verdict.complete);
                    content = whole;
                }
        }
    }
}
