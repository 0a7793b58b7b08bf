export module ringfort.config:registry;

import ringfort.base;
import ringfort.std;
import :schema;

export namespace ringfort::config {

/// What a service can be a listener's for.
struct Takes {
    bool connections = true;
    bool datagrams = false;
};

/// The services an application has, and the schema of each one's [service.NAME] table.
class Registry {
public:
    struct Service {
        TableSchema schema;
        const std::type_info* type;
        Takes takes = {};
    };
    using Services = std::map<std::string, Service, std::less<>>;

    /// Adds a service. Aborts on a name that is there already or is not made of a-z, 0-9, _ and -,
    /// and on defaults that the schema itself would refuse.
    template <std::default_initializable Config>
    void add(std::string name, Table<Config> schema, Takes takes = {}) {
        insert(std::move(name), {std::move(schema).schema(), &typeid(Config), takes});
    }

    /// Returns the services by name.
    [[nodiscard]] const Services& services() const { return services_; }
    /// Returns a service, nullptr if there is none of that name.
    [[nodiscard]] const Service* find(std::string_view name) const;
    [[nodiscard]] std::vector<std::string> names() const;

private:
    void insert(std::string name, Service service);
    Services services_;
};

}  // namespace ringfort::config
