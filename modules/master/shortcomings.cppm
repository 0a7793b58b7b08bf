export module ringfort.master:shortcomings;

import ringfort.base;
import ringfort.std;

export namespace ringfort::master {

/// What the workers of a generation say that they do without. It is mostly the same for all, and
/// who follows on one that died says it again: each text is to be logged once.
class Shortcomings {
public:
    /// Takes note of `text`; returns whether nobody has said it before. Only the first
    /// `limits::max_shortcomings` are noted; what is said beyond them is taken for nothing new.
    [[nodiscard]] bool note(std::string_view text) {
        if (texts_.size() == limits::max_shortcomings) return false;
        for (const std::string& known : texts_)
            if (known == text) return false;
        texts_.emplace_back(text);
        return true;
    }
    /// Returns what was noted, in the order in which it was said.
    [[nodiscard]] const std::vector<std::string>& texts() const noexcept { return texts_; }

private:
    std::vector<std::string> texts_;
};

}  // namespace ringfort::master
