export module ringfort.config:problem;

import ringfort.std;
import :source;

export namespace ringfort::config {

/// Part of a text shown below a message, with the span to be underlined.
struct Snippet {
    Span span;         ///< line 0: nothing is shown
    std::string line;  ///< the source line at `span.begin`, without its line break
};

/// Points at a second place that explains a problem.
struct Note {
    std::string message;
    Snippet snippet;
};

/// One thing wrong with a configuration: what, where, and what to do about it. Owns its text.
struct Problem {
    std::string file;
    std::string message;
    Snippet snippet;
    std::string help;  ///< the remedy; may be empty
    std::vector<Note> notes;

    /// Returns where the problem begins.
    [[nodiscard]] Place place() const noexcept { return snippet.span.begin; }
    /// Returns "file:line:column: error: message", or "file: error: message" without a place.
    [[nodiscard]] std::string headline() const;
    /// Returns a block of lines as compilers print: headline, source line, caret, notes and help.
    /// Tabs become spaces, control and direction characters U+FFFD, and long lines are cut around
    /// the caret. Ends in a newline.
    [[nodiscard]] std::string text() const;
};

/// Everything wrong with one configuration, in the order of the text.
struct Problems {
    std::vector<Problem> list;
    std::size_t left_out = 0;  ///< found beyond limits::max_config_problems

    /// Returns every problem's text and, if there are several, their number.
    [[nodiscard]] std::string text() const;
};

}  // namespace ringfort::config
