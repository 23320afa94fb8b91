// A state machine in MSM, written with its functional front end.
#define BOOST_MPL_CFG_NO_PREPROCESSED_HEADERS
#define BOOST_MPL_LIMIT_LIST_SIZE 30
#define BOOST_MPL_LIMIT_VECTOR_SIZE 30
#define FUSION_MAX_VECTOR_SIZE 20
#include <boost/msm/back/state_machine.hpp>
#include <boost/msm/front/euml/euml.hpp>
#include <boost/msm/front/functor_row.hpp>
#include <boost/msm/front/state_machine_def.hpp>

namespace msm = boost::msm;
namespace mpl = boost::mpl;

struct Play {};
struct Stop {};

struct Player_ : msm::front::state_machine_def<Player_> {
    struct Stopped : msm::front::state<> {};
    struct Playing : msm::front::state<> {};
    using initial_state = Stopped;
    struct transition_table : mpl::vector<msm::front::Row<Stopped, Play, Playing>, msm::front::Row<Playing, Stop, Stopped>> {};
};
using Player = msm::back::state_machine<Player_>;

int play() {
    Player player;
    player.start();
    player.process_event(Play());
    return player.current_state()[0];
}
