export module ringfort.master:warnings;

import ringfort.base;
import ringfort.std;

export namespace ringfort::master {

/// What the workers of a generation say that they do without. It is mostly the same for all, and
/// who follows on one that died says it again: each text is to be logged once.
class Warnings {
public:
    /// Tells whether `text` was never said before; the first `limits::max_shortcomings` alone are
    /// kept, and what is said beyond them is never new.
    [[nodiscard]] bool is_new(std::string_view text) {
        if (texts_.size() == limits::max_shortcomings) return false;
        for (const std::string& known : texts_)
            if (known == text) return false;
        texts_.emplace_back(text);
        return true;
    }

private:
    std::vector<std::string> texts_;
};

}  // namespace ringfort::master
