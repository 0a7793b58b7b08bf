export module ringfort.config:schema;

import ringfort.base;
import ringfort.std;
import :codec;
import :node;
import :report;

export namespace ringfort::config {

class TableSchema;

/// One key of a table, with the type of the struct it belongs to erased: `owner` is that struct.
struct FieldSchema {
    std::string name;
    std::string doc;
    std::string type;
    std::string range;
    Options options;
    // A value: these two, and no `nested`.
    std::function<void(const Input&, void* owner)> read;
    std::function<std::optional<std::string>(const void* owner)> write;
    // A table or an array of tables.
    std::shared_ptr<const TableSchema> nested;
    bool many = false;
    std::function<void*(void* owner)> child;  ///< the table's struct; of an array, a new item
    std::function<void(void* owner)> clear;   ///< only of an array, as the two below
    std::function<std::size_t(const void* owner)> count;
    std::function<const void*(const void* owner, std::size_t index)> at;
};

/// Says what to do about required keys that are not there.
enum class Missing { is_an_error, is_allowed };

/// The keys of a table and what they mean: the one source for reading, for the effective
/// configuration and for the reference. Immutable once it is in use.
class TableSchema {
public:
    TableSchema(std::string doc, std::function<std::shared_ptr<void>()> make)
        : doc_{std::move(doc)}, make_{std::move(make)} {}

    /// Adds a key. Aborts on a name that is no bare key of [a-z0-9_] or is there already.
    void add(FieldSchema field);
    /// Allows a key that somebody else reads.
    void add_foreign(std::string name) { foreign_.push_back(std::move(name)); }
    /// Adds a check over the struct; see Table::check.
    void add_check(std::function<void(const void* object, Faults&)> check);

    /// Reads `table` into `object`; reports everything that is wrong. Returns whether all is well.
    bool read(const Node& table, Report& report, void* object,
              Missing missing = Missing::is_an_error) const;
    /// Returns the required keys.
    [[nodiscard]] std::vector<std::string> required() const;

    /// Return what the table is for, and its keys in the order of their addition.
    [[nodiscard]] const std::string& doc() const { return doc_; }
    [[nodiscard]] const std::vector<FieldSchema>& fields() const { return fields_; }
    /// Makes a struct with all its defaults.
    [[nodiscard]] std::shared_ptr<void> make() const { return make_(); }

private:
    bool read_field(const FieldSchema& field, const Node& value, Report& report,
                    void* object) const;
    void read_items(const FieldSchema& field, const Node& value, Report& report,
                    void* object) const;
    /// Reports a key nobody knows; returns the one that was probably meant, or an empty string.
    std::string unknown_key(const Member& member, Report& report) const;

    std::string doc_;
    std::function<std::shared_ptr<void>()> make_;
    std::vector<FieldSchema> fields_;
    std::vector<std::string> foreign_;
    std::vector<std::function<void(const void*, Faults&)>> checks_;
};

/// What a validator says about a value that has the right type and range: nothing, or what is
/// wrong, worded to follow the key's name: "must be a power of two".
struct Complaint {
    std::string message;
    std::string help = {};
};
/// Looks at one value after its codec; see Complaint.
template <class M>
using Validator = std::function<std::optional<Complaint>(const M&)>;

/// Describes how a table becomes a T. The defaults are T's member initialisers.
template <std::default_initializable T>
class Table {
public:
    explicit Table(std::string doc)
        : schema_{std::move(doc), [] { return std::make_shared<T>(); }} {}

    /// Adds a key of any type that has a Codec. Milliseconds' keys must end in "_ms".
    template <Codable M>
    [[nodiscard]] Table field(std::string name, M T::* member, std::string doc,
                              Options options = {},
                              std::type_identity_t<Validator<M>> validator = {}) && {
        constexpr bool time = std::same_as<M, Milliseconds>;
        ensure(!time || name.ends_with("_ms"), "a key of Milliseconds without _ms in its name");
        return std::move(*this).add(std::move(name), member, std::move(doc), options, Codec<M>{},
                                    std::move(validator));
    }

    /// Adds a key whose value is one of some names, or an optional or array of them.
    template <class M, class E>
    [[nodiscard]] Table field(std::string name, M T::* member, std::string doc, Names<E> names,
                              Options options = {}) && {
        if constexpr (std::same_as<M, E>) {
            return std::move(*this).add(std::move(name), member, std::move(doc), options,
                                        Codec<M>{std::move(names)}, Validator<M>{});
        } else {
            return std::move(*this).add(std::move(name), member, std::move(doc), options,
                                        Codec<M>{Codec<E>{std::move(names)}}, Validator<M>{});
        }
    }

    /// Adds a table inside the table.
    template <class U>
    [[nodiscard]] Table table(std::string name, U T::* member, Table<U> nested) && {
        FieldSchema field = nested_field(std::move(name), std::move(nested));
        field.type = "table";
        field.child = [member](void* owner) -> void* { return &(static_cast<T*>(owner)->*member); };
        field.at = [member](const void* owner, std::size_t) -> const void* {
            return &(static_cast<const T*>(owner)->*member);
        };
        schema_.add(std::move(field));
        return std::move(*this);
    }

    /// Adds an array of tables.
    template <class U>
    [[nodiscard]] Table tables(std::string name, std::vector<U> T::* member, Table<U> item,
                               Options options = {}) && {
        FieldSchema field = nested_field(std::move(name), std::move(item));
        field.type = "array of tables";
        field.options = options;
        field.many = true;
        field.child = [member](void* owner) -> void* {
            return &(static_cast<T*>(owner)->*member).emplace_back();
        };
        field.clear = [member](void* owner) { (static_cast<T*>(owner)->*member).clear(); };
        field.count = [member](const void* owner) {
            return (static_cast<const T*>(owner)->*member).size();
        };
        field.at = [member](const void* owner, std::size_t index) -> const void* {
            return &(static_cast<const T*>(owner)->*member)[index];
        };
        schema_.add(std::move(field));
        return std::move(*this);
    }

    /// Adds a check over several keys. It runs when the table's own keys are right one by one;
    /// tables inside it may be wrong, and then hold what they could read.
    [[nodiscard]] Table check(std::function<void(const T&, Faults&)> check) && {
        schema_.add_check([check = std::move(check)](const void* object, Faults& faults) {
            check(*static_cast<const T*>(object), faults);
        });
        return std::move(*this);
    }

    /// Allows a key that somebody else reads.
    [[nodiscard]] Table foreign(std::string name) && {
        schema_.add_foreign(std::move(name));
        return std::move(*this);
    }

    /// Returns the schema, its type erased.
    [[nodiscard]] const TableSchema& schema() const& { return schema_; }
    [[nodiscard]] TableSchema schema() && { return std::move(schema_); }

private:
    template <class M>
    Table add(std::string name, M T::* member, std::string doc, Options options, Codec<M> codec,
              Validator<M> validator) && {
        FieldSchema field;
        field.name = std::move(name);
        field.doc = std::move(doc);
        field.type = codec.type();
        field.range = codec.range(options);
        field.options = options;
        field.read = [codec, member, validator](const Input& input, void* owner) {
            M value{};
            if (!codec.read(input, value)) return;
            if (const auto wrong = validator ? validator(value) : std::nullopt)
                input.fail(wrong->message, wrong->help);
            else
                static_cast<T*>(owner)->*member = std::move(value);
        };
        field.write = [codec, member](const void* owner) {
            return codec.write(static_cast<const T*>(owner)->*member);
        };
        schema_.add(std::move(field));
        return std::move(*this);
    }

    template <class U>
    static FieldSchema nested_field(std::string name, Table<U> nested) {
        FieldSchema field;
        field.name = std::move(name);
        field.doc = nested.schema().doc();
        field.nested = std::make_shared<TableSchema>(std::move(nested).schema());
        return field;
    }

    TableSchema schema_;
};

/// Begins the description of a table.
template <std::default_initializable T>
[[nodiscard]] Table<T> table(std::string doc) {
    return Table<T>{std::move(doc)};
}

}  // namespace ringfort::config
