// Multi-index containers, signals, variants and Hana in one unit.
#include <boost/hana.hpp>
#include <boost/multi_index/hashed_index.hpp>
#include <boost/multi_index/member.hpp>
#include <boost/multi_index/ordered_index.hpp>
#include <boost/multi_index_container.hpp>
#include <boost/signals2.hpp>
#include <boost/variant.hpp>
#include <string>

namespace mi = boost::multi_index;

struct Person {
    int id;
    std::string name;
};
using People = mi::multi_index_container<Person, mi::indexed_by<mi::ordered_unique<mi::member<Person, int, &Person::id>>,
                                                                mi::hashed_non_unique<mi::member<Person, std::string, &Person::name>>>>;

bool known(const People &people, const std::string &name) { return people.get<1>().count(name) != 0; }
boost::signals2::signal<void(const boost::variant<int, std::string> &)> changed;
